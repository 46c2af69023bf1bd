"""The same models in open_clip and in transformers, independent implementations, with the same random weights."""

import re

import open_clip
import torch

from clip_lightning.models import CLIP, presets
from clip_lightning.spec import build, spec_of

# Our presets and open_clip's names for the same models.
OPEN_CLIP_NAMES = {
    "rn50": "RN50-quickgelu",
    "rn101": "RN101-quickgelu",
    "rn50x4": "RN50x4-quickgelu",
    "rn50x16": "RN50x16-quickgelu",
    "rn50x64": "RN50x64-quickgelu",
    "vit_b_32": "ViT-B-32-quickgelu",
    "vit_b_16": "ViT-B-16-quickgelu",
    "vit_l_14": "ViT-L-14-quickgelu",
    "vit_l_14_336": "ViT-L-14-336-quickgelu",
}
PRESETS = tuple(OPEN_CLIP_NAMES)
VITS = tuple(name for name in PRESETS if name.startswith("vit"))

# Patterns of our names, and the peers' names for the same tensors.
TO_OPEN_CLIP = {
    r"^logit_scale$": r"logit_scale",
    r"^image_projection\.weight$": r"visual.proj",
    r"^text_projection\.weight$": r"text_projection",
    r"^text_encoder\.token_embedding": r"token_embedding",
    r"^text_encoder\.position_embedding": r"positional_embedding",
    r"^text_encoder\.output_norm": r"ln_final",
    r"^text_encoder\.layers": r"transformer.resblocks",
    r"^image_encoder\.patch_embedding": r"visual.conv1",
    r"^image_encoder\.class_token": r"visual.class_embedding",
    r"^image_encoder\.position_embedding": r"visual.positional_embedding",
    r"^image_encoder\.embedding_norm": r"visual.ln_pre",
    r"^image_encoder\.output_norm": r"visual.ln_post",
    r"^image_encoder\.layers": r"visual.transformer.resblocks",
    r"\.attention_norm\.": r".ln_1.",
    r"\.mlp_norm\.": r".ln_2.",
    r"\.attention\.in_projection\.": r".attn.in_proj_",
    r"\.attention\.out_projection\.": r".attn.out_proj.",
    r"\.mlp\.expand\.": r".mlp.c_fc.",
    r"\.mlp\.contract\.": r".mlp.c_proj.",
    r"^image_encoder\.stem\.": r"visual.",
    r"^image_encoder\.stages\.(\d+)": lambda match: f"visual.layer{int(match[1]) + 1}",
    r"\.shortcut\.conv\.": r".downsample.0.",
    r"\.shortcut\.norm\.": r".downsample.1.",
    r"\.norm(\d)\.": r".bn\1.",
    r"^image_encoder\.attention_pool\.position_embedding": r"visual.attnpool.positional_embedding",
    r"^image_encoder\.attention_pool\.(q|k|v)[a-z]+\.": r"visual.attnpool.\1_proj.",
    r"^image_encoder\.attention_pool\.out_projection\.": r"visual.attnpool.c_proj.",
}
TO_TRANSFORMERS = {
    r"^image_projection\.": r"visual_projection.",
    r"^image_encoder\.patch_embedding": r"vision_model.embeddings.patch_embedding",
    r"^image_encoder\.class_token": r"vision_model.embeddings.class_embedding",
    r"^image_encoder\.embedding_norm": r"vision_model.pre_layrnorm",
    r"^image_encoder\.output_norm": r"vision_model.post_layernorm",
    r"^text_encoder\.output_norm": r"text_model.final_layer_norm",
    r"^text_encoder\.token_embedding": r"text_model.embeddings.token_embedding",
    r"^image_encoder\.position_embedding": r"vision_model.embeddings.position_embedding.weight",
    r"^text_encoder\.position_embedding": r"text_model.embeddings.position_embedding.weight",
    r"^image_encoder\.layers": r"vision_model.encoder.layers",
    r"^text_encoder\.layers": r"text_model.encoder.layers",
    r"\.attention_norm\.": r".layer_norm1.",
    r"\.mlp_norm\.": r".layer_norm2.",
    r"\.attention\.out_projection\.": r".self_attn.out_proj.",
    r"\.mlp\.expand\.": r".mlp.fc1.",
    r"\.mlp\.contract\.": r".mlp.fc2.",
}


def renamed(name, patterns):
    for pattern, replacement in patterns.items():
        name = re.sub(pattern, replacement, name)
    return name


def to_open_clip(tensors):
    """Tensors under open_clip's names; it keeps its projections transposed."""
    return {
        renamed(name, TO_OPEN_CLIP): tensor.mT
        if name in ("image_projection.weight", "text_projection.weight")
        else tensor
        for name, tensor in tensors.items()
    }


def to_transformers(tensors):
    """Tensors under transformers' names; it keeps queries, keys and values apart."""
    named = {}
    for name, tensor in tensors.items():
        if ".attention.in_projection." in name:
            for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                apart = name.replace(".attention.in_projection.", f".self_attn.{part}_proj.")
                named[renamed(apart, TO_TRANSFORMERS)] = piece
        else:
            named[renamed(name, TO_TRANSFORMERS)] = tensor
    return named


def on_meta(name):
    """A preset's shapes."""
    with torch.device("meta"):
        return getattr(presets, name)()


def reduced(name, *, layers=None, quick_gelu=True):
    """A preset with the same proportions and less of everything.

    Args:
        name: The preset.
        layers: "all" keeps the whole depth.
        quick_gelu: Whether to have the preset's activation.
    """
    spec = spec_of(on_meta(name))
    image, text = (spec["init_args"][tower]["init_args"] for tower in ("image_encoder", "text_encoder"))
    text.update(width=text["width"] // 4, vocab_size=640, quick_gelu=quick_gelu)
    if "blocks" in image:
        image.update(width=image["width"] // 8, image_size=image["image_size"] // 96 * 32)
        image.update(output_dim=image["output_dim"] // 8)
    else:
        patch = image["patch_size"]
        image.update(
            width=image["width"] // 4, image_size=image["image_size"] // patch // 3 * patch, quick_gelu=quick_gelu
        )
    spec["init_args"]["embed_dim"] //= 8
    if layers != "all":
        text["depth"] = 2
        image.update(
            {"blocks": [max(1, round(depth / 4)) for depth in image["blocks"]]} if "blocks" in image else {"depth": 2}
        )
    return build(spec)


def open_clip_sizes(model: CLIP):
    """What open_clip's CLIP is built from."""
    spec = spec_of(model)["init_args"]
    image, text = (spec[tower]["init_args"] for tower in ("image_encoder", "text_encoder"))
    vision = {"image_size": image["image_size"], "width": image["width"]}
    if "blocks" in image:
        vision |= {"layers": image["blocks"], "patch_size": None}
    else:
        head_width = image["width"] // image["num_heads"]
        vision |= {"layers": image["depth"], "patch_size": image["patch_size"], "head_width": head_width}
    renames = {"num_heads": "heads", "depth": "layers"}
    copied = ("context_length", "vocab_size", "width", "num_heads", "depth")
    text_sizes = {renames.get(key, key): text[key] for key in copied}
    sizes = {"embed_dim": spec["embed_dim"], "vision_cfg": vision, "text_cfg": text_sizes}
    return sizes | {"quick_gelu": text["quick_gelu"]}


def open_clip_twin(model: CLIP, sizes=None):
    """open_clip's model with the weights of ours, which lie in the same memory."""
    with torch.device("meta"):
        twin = open_clip.CLIP(**(sizes or open_clip_sizes(model)))
    twin.load_state_dict(to_open_clip(model.state_dict()), assign=True)
    twin.attn_mask = twin.build_causal_mask() if hasattr(twin, "build_causal_mask") else _causal(twin.context_length)
    left = [name for name, tensor in [*twin.named_parameters(), *twin.named_buffers()] if tensor.is_meta]
    assert not left, left
    return twin.requires_grad_().eval()


def _causal(length):
    return torch.full((length, length), -torch.inf).triu(1)


def transformers_twin(model: CLIP):
    """transformers' model with the weights of ours."""
    from transformers import CLIPConfig, CLIPModel

    spec = spec_of(model)["init_args"]
    image, text = (spec[tower]["init_args"] for tower in ("image_encoder", "text_encoder"))

    def sizes(tower):
        return {
            "hidden_size": tower["width"],
            "intermediate_size": 4 * tower["width"],
            "num_hidden_layers": tower["depth"],
            "num_attention_heads": tower["num_heads"],
            "hidden_act": "quick_gelu" if tower["quick_gelu"] else "gelu",
        }

    of_text = {"vocab_size": text["vocab_size"], "max_position_embeddings": text["context_length"]}
    of_text |= {"eos_token_id": text["vocab_size"] - 1, "bos_token_id": text["vocab_size"] - 2, "pad_token_id": 0}
    of_image = {key: image[key] for key in ("image_size", "patch_size")}
    config = CLIPConfig(
        text_config=sizes(text) | of_text, vision_config=sizes(image) | of_image, projection_dim=spec["embed_dim"]
    )
    twin = CLIPModel(config)
    twin.load_state_dict(to_transformers(model.state_dict()), assign=True)
    return twin.requires_grad_().eval()


def randomize(model: torch.nn.Module) -> None:
    """Gives gains, biases, running statistics and the temperature values too, which a fresh model has at 0 or 1."""
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("running_var"):
                tensor.uniform_(0.02, 0.1)  # small, so that activations do not shrink from block to block
            elif tensor.is_floating_point() and tensor.ndim <= 1:
                tensor.add_(torch.randn_like(tensor), alpha=0.3)


def pairs(model: CLIP, count: int = 3, dtype: torch.dtype = torch.float32):
    """Normalised pixels in large patches, which deep random networks tell apart, and texts with an end each."""
    size, context, last = model.pixels.size, model.text_encoder.context_length, model.text_encoder.vocab_size - 1
    image = torch.nn.functional.interpolate(2 * torch.randn(count, 3, 4, 4, dtype=dtype), (size, size))
    image += 0.2 * torch.randn_like(image)
    text = torch.randint(1, last - 1, (count, context))
    for row, length in enumerate((3, context, 7)[:count]):
        text[row, length - 1] = last
        text[row, length:] = 0
    return image, text


def logits_of(model, image, text):
    """Cosine similarities times the temperature's factor, by each library's own code but for ours."""
    if isinstance(model, CLIP):
        features = (torch.nn.functional.normalize(features, dim=-1) for features in model(image, text))
        image_embeds, text_embeds = features
        return model.logit_scale.exp() * image_embeds @ text_embeds.T
    if isinstance(model, open_clip.CLIP):
        return model.get_logits(image, text)[0]
    return model(pixel_values=image, input_ids=text).logits_per_image


def features_of(model, image, text):
    """Image features and text features, projected."""
    if hasattr(model, "encode_image"):
        return model.encode_image(image), model.encode_text(text)
    return model.get_image_features(image).pooler_output, model.get_text_features(text).pooler_output
