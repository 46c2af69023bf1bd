"""Released files give the features that the library gives which released them."""

import json
import re
import shutil

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from released import MEAN, STD, edit_json
from safetensors.torch import load_file, save_file
from transformers import CLIPImageProcessor, CLIPModel

import clip_lightning
from clip_lightning.models import ModifiedResNet, VisionTransformer
from clip_lightning.models.layers import QuickGELU


def assert_close(mine, reference):
    assert (mine - reference).norm() <= 1e-5 * reference.norm()
    assert reference.std(dim=0).min() > 1e-3, "the samples are told apart"


@torch.no_grad()
def assert_same_features(model, reference, image, text):
    assert_close(model.encode_image(image), reference.encode_image(image))
    assert_close(model.encode_text(text), reference.encode_text(text))
    assert model.logit_scale == reference.logit_scale


def has_quick_gelu(model):
    return any(isinstance(module, QuickGELU) for module in model.modules())


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("tower", ["vit", "resnet"])
def test_openais_archives(archives, tower, image, text):
    reference = open_clip.load_openai_model(str(archives[tower]), precision="fp32", device="cpu")
    pretrained = clip_lightning.load(archives[tower])
    assert_same_features(pretrained.model, reference.eval(), image, text)
    assert has_quick_gelu(pretrained.model.text_encoder)
    assert pretrained.card["format"] == "OpenAI's archive"
    assert not pretrained.model.training
    assert all(parameter.dtype == torch.float32 for parameter in pretrained.model.parameters())


@pytest.mark.parametrize("case", [("vit", True), ("vit", False), ("resnet", True)])
def test_open_clips_folders(open_clip_folders, case, image, text):
    folder = open_clip_folders[case]
    reference = open_clip.create_model(f"local-dir:{folder}").eval()
    pretrained = clip_lightning.load(folder)
    assert_same_features(pretrained.model, reference, image, text)
    assert has_quick_gelu(pretrained.model) == case[1]
    assert (pretrained.model.pixels.mean, pretrained.model.pixels.std) == (MEAN, STD)
    assert isinstance(pretrained.model.image_encoder, VisionTransformer if case[0] == "vit" else ModifiedResNet)


@pytest.mark.parametrize("act", ["quick_gelu", "gelu"])
@torch.no_grad()
def test_transformers_folders(transformers_folders, act, image, text):
    reference = CLIPModel.from_pretrained(transformers_folders[act]).eval()
    model = clip_lightning.load(transformers_folders[act]).model
    assert_close(model.encode_image(image), reference.get_image_features(image).pooler_output)
    assert_close(model.encode_text(text), reference.get_text_features(text).pooler_output)
    assert has_quick_gelu(model) == (act == "quick_gelu")
    assert model.pixels.mean == MEAN


def test_the_first_configurations_of_transformers_have_a_number_as_size(transformers_folders, tmp_path, image):
    folder = shutil.copytree(transformers_folders["gelu"], tmp_path / "old")
    edit_json(folder / "preprocessor_config.json", lambda config: config.update(size=64, crop_size=64))
    assert clip_lightning.load(folder).model.pixels.resize == "shortest"


def test_the_parts_belong_together(open_clip_folders):
    """An image and class names through all of them, against open_clip's own preprocessing and tokeniser."""
    name = f"local-dir:{open_clip_folders['vit', True]}"
    reference, _, preprocess = open_clip.create_model_and_transforms(name)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    photo = Image.fromarray(pixels).resize((96, 80), Image.Resampling.BICUBIC)
    model, _, transform, scorer, _ = clip_lightning.load(open_clip_folders["vit", True])
    scores = scorer.classes([["a cat"], ["a dog"]])(model.encode_image(model.normalize(transform(photo)[None])))
    with torch.no_grad():
        image_features, text_features, scale = reference.eval()(
            preprocess(photo)[None], open_clip.get_tokenizer(name)(["a cat", "a dog"])
        )
    # Pillow rounds after each of the two directions in which it resizes, which moves single pixels by one.
    torch.testing.assert_close(scores, scale * image_features @ text_features.T, atol=0.05, rtol=0)


def bare(folder, **changes):
    return {**load_file(folder / "open_clip_model.safetensors"), **changes}


def save(content, path):
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensors: tensors,
        lambda tensors: {"epoch": 3, "name": "run", "state_dict": tensors, "optimizer": {"state": {}}},
        lambda tensors: {"state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}},
        lambda tensors: {
            name if name.startswith("visual") or name == "logit_scale" else f"text.{name}": tensor
            for name, tensor in tensors.items()
        },
    ],
    ids=["bare", "training", "parallel", "text tower of its own"],
)
def test_state_dicts_must_be_told_their_activation(open_clip_folders, wrap, tmp_path, image, text):
    path = save(wrap(bare(open_clip_folders["vit", True])), tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=r"does not say which activation.*quick_gelu=True for OpenAI's"):
        clip_lightning.load(path)
    reference = open_clip.create_model(f"local-dir:{open_clip_folders['vit', True]}").eval()
    assert_same_features(clip_lightning.load(path, quick_gelu=True).model, reference, image, text)
    assert not has_quick_gelu(clip_lightning.load(path, quick_gelu=False).model)


def test_openais_plain_state_dict_says_its_activation(open_clip_folders, tmp_path):
    numbers = {"input_resolution": torch.tensor(64), "context_length": torch.tensor(77)}
    tensors = bare(open_clip_folders["vit", True], **numbers, vocab_size=torch.tensor(49408))
    path = save(tensors, tmp_path / "weights.pt")
    assert has_quick_gelu(clip_lightning.load(path).model)
    with pytest.raises(ValueError, match="says that quick_gelu is True, but False was asked for"):
        clip_lightning.load(path, quick_gelu=False)


def test_a_file_beside_its_configuration(open_clip_folders, tmp_path):
    folder = open_clip_folders["vit", True]
    for name in ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"):
        assert has_quick_gelu(clip_lightning.load(folder / name).model)
    alone = shutil.copy(folder / "open_clip_model.safetensors", tmp_path / "alone.safetensors")
    with pytest.raises(ValueError, match="does not say which activation"):
        clip_lightning.load(alone)


@pytest.mark.parametrize(("tower", "size"), [("vit", 96), ("resnet", 128)])
def test_another_image_size_interpolates_as_open_clip_does(open_clip_folders, tower, size, text):
    folder = open_clip_folders[tower, True]
    with pytest.warns(UserWarning, match="image position embeddings were interpolated to"):
        model = clip_lightning.load(folder, image_size=size).model
    image = torch.randn(3, 3, size, size)
    assert model.pixels.size == size
    if tower == "resnet":  # open_clip cannot do it
        assert model.encode_image(image).shape == (3, 32)
        return
    reference = open_clip.create_model(f"local-dir:{folder}", force_image_size=size).eval()
    assert_same_features(model, reference, image, text)


def test_another_context_length_interpolates_as_open_clip_does(open_clip_folders, image):
    folder = open_clip_folders["vit", True]
    with pytest.warns(UserWarning, match="77 text position embeddings were interpolated to 32"):
        pretrained = clip_lightning.load(folder, context_length=32)
    reference = open_clip.create_model(f"local-dir:{folder}", force_context_length=32).eval()
    assert_same_features(pretrained.model, reference, image, pretrained.tokenizer(["a cat", "a dog on a table", "x"]))


def test_an_image_size_that_the_patches_do_not_divide(open_clip_folders):
    with pytest.raises(ValueError, match="patch_size 16 does not divide image_size 70"):
        clip_lightning.load(open_clip_folders["vit", True], image_size=70)


def test_missing_extra_and_misshapen_weights_are_named(open_clip_folders, tmp_path):
    def load_without(**changes):
        folder = shutil.copytree(open_clip_folders["vit", True], tmp_path / "changed", dirs_exist_ok=True)
        tensors = {name: tensor for name, tensor in bare(folder, **changes).items() if tensor is not None}
        save_file(tensors, folder / "open_clip_model.safetensors")
        clip_lightning.load(folder)

    with pytest.raises(ValueError, match=r"1 weights do not fit: missing image_encoder\.output_norm\.bias"):
        load_without(**{"visual.ln_post.bias": None})
    with pytest.raises(ValueError, match=r"1 weights do not fit: unknown logit_bias"):
        load_without(logit_bias=torch.zeros(()))
    with pytest.raises(ValueError, match=r"text_encoder\.output_norm\.bias is \(5,\), not \(64,\)"):
        load_without(**{"ln_final.bias": torch.zeros(5)})
    names = [f"visual.transformer.resblocks.1.{part}" for part in ("ln_1.bias", "ln_2.bias", "attn.in_proj_bias")]
    names += [f"transformer.resblocks.1.{part}.bias" for part in ("ln_1", "ln_2", "mlp.c_fc", "mlp.c_proj")]
    names += [
        f"{part}.weight" for part in ("ln_final", "visual.ln_pre", "visual.ln_post", "transformer.resblocks.0.ln_1")
    ]
    with pytest.raises(ValueError, match="11 weights do not fit") as caught:
        load_without(**dict.fromkeys(names))
    assert len(re.findall("[:;] missing ", str(caught.value))) == 10


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda config: config["vision_cfg"].update(attentional_pool=True), "vision_cfg.attentional_pool True"),
        (lambda config: config["text_cfg"].update(no_causal_mask=True), "text_cfg.no_causal_mask True"),
        (lambda config: config["text_cfg"].update(pool_type="last"), "text_cfg.pool_type 'last'"),
        (lambda config: config.update(multimodal_cfg={"width": 8}), "multimodal_cfg"),
    ],
)  # fmt: skip
def test_architectures_that_are_not_the_papers_are_refused(open_clip_folders, tmp_path, change, told):
    folder = shutil.copytree(open_clip_folders["vit", True], tmp_path / "other")
    edit_json(folder / "open_clip_config.json", lambda config: change(config["model_cfg"]))
    with pytest.raises(ValueError, match="none of the paper's") as caught:
        clip_lightning.load(folder)
    assert told in str(caught.value)


def test_transformers_with_another_activation_are_refused(transformers_folders, tmp_path):
    folder = shutil.copytree(transformers_folders["gelu"], tmp_path / "other")
    edit_json(folder / "config.json", lambda config: config["text_config"].update(hidden_act="relu"))
    with pytest.raises(ValueError, match=r"hidden_act \['gelu', 'relu'\]"):
        clip_lightning.load(folder)
    edit_json(folder / "config.json", lambda config: config.update(model_type="siglip"))
    with pytest.raises(ValueError, match="model of type 'siglip'"):
        clip_lightning.load(folder)


def test_another_vocabulary_is_refused(tmp_path):
    model = open_clip.CLIP(
        32, {"image_size": 32, "patch_size": 16, "width": 64, "layers": 1},
        {"context_length": 8, "vocab_size": 50, "width": 64, "heads": 1, "layers": 1},
    )  # fmt: skip
    path = save(model.state_dict(), tmp_path / "small.pt")
    with pytest.raises(ValueError, match="has 50 token ids, and CLIP's vocabulary 49,408"):
        clip_lightning.load(path, quick_gelu=True)


def test_files_that_are_none(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="is a folder, and none of open_clip"):
        clip_lightning.load(tmp_path / "empty")
    with pytest.raises(ValueError, match="does not exist"):
        clip_lightning.load(tmp_path / "nowhere.pt")
    with pytest.raises(ValueError, match=r"in no known layout.*first tensors: conv\.weight"):
        clip_lightning.load(save({"conv.weight": torch.zeros(1)}, tmp_path / "conv.pt"))
    with pytest.raises(ValueError, match="holds a list and no weights"):
        clip_lightning.load(save([torch.zeros(1)], tmp_path / "list.pt"))
    (tmp_path / "text.safetensors").write_text("12345678{ no header")
    with pytest.raises(ValueError, match="damaged, or no safetensors file"):
        clip_lightning.load(tmp_path / "text.safetensors")
    (tmp_path / "empty" / "open_clip_config.json").write_text(json.dumps({"model_cfg": {}}))
    with pytest.raises(ValueError, match="describes no model"):
        clip_lightning.load(tmp_path / "empty")


def test_a_processor_of_transformers_prepares_what_our_transform_does(transformers_folders, tmp_path):
    """So that what is exported and what is loaded mean the same pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    photo = Image.fromarray(pixels).resize((96, 80), Image.Resampling.BICUBIC)
    pretrained = clip_lightning.load(transformers_folders["gelu"])
    processor = CLIPImageProcessor.from_pretrained(transformers_folders["gelu"])
    theirs = processor(photo, return_tensors="pt")["pixel_values"]
    mine = pretrained.model.normalize(pretrained.transform(photo)[None])
    assert (mine - theirs).abs().max() <= 2 / 255 / min(STD) + 1e-6
