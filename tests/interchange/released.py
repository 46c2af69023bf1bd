"""Files in the layouts in which weights are released, written by the libraries themselves from random weights."""

import json
import re
from types import SimpleNamespace

import open_clip
import torch
from open_clip.push_to_hf_hub import save_for_hf
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTextConfig, CLIPVisionConfig

EMBED_DIM = 32
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2}
VISION = {
    "vit": {"image_size": 64, "patch_size": 16, "width": 128, "layers": 2},
    "resnet": {"image_size": 64, "layers": (1, 2, 1, 1), "width": 16},
}
TEXTS = ["a cat", "two big red dogs under a table", "x"]
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


def open_clip_model(tower="vit", quick_gelu=False, **changes):
    """A model of open_clip whose gains, biases and statistics have values too."""
    model = open_clip.CLIP(EMBED_DIM, {**VISION[tower], **changes}, TEXT, quick_gelu=quick_gelu).eval()
    randomize(model)
    return model


def randomize(model):
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("running_var"):
                tensor.uniform_(0.02, 0.1)
            elif tensor.is_floating_point() and tensor.ndim == 1:
                tensor.add_(torch.randn_like(tensor), alpha=0.3)


def model_config(tower, quick_gelu):
    return {"embed_dim": EMBED_DIM, "vision_cfg": VISION[tower], "text_cfg": TEXT, "quick_gelu": quick_gelu}


def write_openai_archive(path, tower="vit"):
    """What OpenAI's download links gave: a traced model in half precision, with three numbers beside its weights."""
    model = open_clip_model(tower, quick_gelu=True)
    mask = model.attn_mask
    del model.context_length, model.vocab_size, model.attn_mask
    model.attn_mask = mask  # a plain attribute, as in OpenAI's code
    for name, number in (("input_resolution", 64), ("context_length", 77), ("vocab_size", 49408)):
        model.register_buffer(name, torch.tensor(number))
    image, text = torch.zeros(1, 3, 64, 64), torch.zeros(1, 77, dtype=torch.int64)
    inputs = {"forward": (image, text), "encode_image": (image,), "encode_text": (text,)}
    traced = torch.jit.trace_module(model, inputs, check_trace=False)
    for name, parameter in traced.named_parameters():
        if not re.search(r"embedding|ln_|bn|downsample\.1|logit_scale", name):
            parameter.data = parameter.data.half()
    torch.jit.save(traced, path)
    return path


def write_open_clip_folder(folder, model, tower="vit", quick_gelu=False):
    """What open_clip pushes to the hub, but for the tokeniser, which CLIP's models need none of."""
    model.visual.image_mean, model.visual.image_std = MEAN, STD
    model.visual.preprocess_cfg = {"interpolation": "bicubic", "resize_mode": "shortest"}
    tokenizer = SimpleNamespace(save_pretrained=lambda folder: None)
    save_for_hf(model, tokenizer, model_config(tower, quick_gelu), folder)
    return folder


def transformers_model(hidden_act="quick_gelu"):
    towers = {"hidden_act": hidden_act, "num_hidden_layers": 2}
    text = CLIPTextConfig(hidden_size=64, intermediate_size=256, num_attention_heads=1, eos_token_id=49407, **towers)
    vision = CLIPVisionConfig(
        hidden_size=128, intermediate_size=512, num_attention_heads=2, image_size=64, patch_size=16, **towers
    )
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=EMBED_DIM)
    model = CLIPModel(config).eval()
    randomize(model)
    return model


def write_transformers_folder(folder, model):
    """What ``save_pretrained`` writes."""
    model.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 64}, crop_size=64, image_mean=MEAN, image_std=STD).save_pretrained(folder)
    return folder


def edit_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
