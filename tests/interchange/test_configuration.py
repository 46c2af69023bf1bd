"""What a folder says of its weights is of the right kind, and true of them, or the folder is refused."""

import re
import shutil

import pytest
import torch
from released import MEAN, STD, edit_json
from safetensors.torch import load_file, save_file
from transformers import CLIPImageProcessor, CLIPProcessor, CLIPTokenizer

import clip_lightning


def edited(folder, tmp_path, file, change):
    folder = shutil.copytree(folder, tmp_path / "edited")
    edit_json(folder / file, change)
    return folder


@pytest.mark.parametrize(
    ("part", "key", "value", "wanted"),
    [
        ("model_cfg", "quick_gelu", "false", "true or false"),
        ("model_cfg.vision_cfg", "head_width", 0, "a whole number above 0"),
        ("model_cfg.vision_cfg", "head_width", "64", "a whole number above 0"),
        ("model_cfg.text_cfg", "heads", "x", "a whole number above 0"),
        ("model_cfg.text_cfg", "heads", True, "a whole number above 0"),
        ("preprocess_cfg", "mean", [0.5], "three numbers"),
        ("preprocess_cfg", "std", ["a", 1, 1], "three numbers"),
        ("preprocess_cfg", "std", [0.2, 0, 0.2], "three numbers above 0"),
        ("preprocess_cfg", "resize_mode", ["shortest"], "one of 'shortest', 'squash'"),
        ("preprocess_cfg", "interpolation", "nearest", "one of 'bicubic', 'bilinear'"),
    ],
)  # fmt: skip
def test_values_of_another_kind_in_open_clips_file(open_clip_folders, tmp_path, part, key, value, wanted):
    def change(config):
        for name in part.split("."):
            config = config[name]
        config[key] = value

    folder = edited(open_clip_folders["vit", True], tmp_path, "open_clip_config.json", change)
    told = f"open_clip_config.json has {part}.{key} {value!r}, which is not {wanted}"
    with pytest.raises(ValueError, match=re.escape(told)):
        clip_lightning.load(folder)


@pytest.mark.parametrize(
    ("tower", "part", "key", "value", "found"),
    [
        ("vit", "vision_cfg", "layers", 3, "2"),
        ("vit", "vision_cfg", "layers", [1, 2, 1, 1], "none"),
        ("vit", "vision_cfg", "image_size", 96, "64"),
        ("vit", "vision_cfg", "patch_size", 32, "16"),
        ("vit", "text_cfg", "layers", 12, "2"),
        ("vit", "text_cfg", "context_length", 76, "77"),
        ("vit", None, "embed_dim", 64, "32"),
        ("resnet", "vision_cfg", "layers", [1, 2, 2, 1], "[1, 2, 1, 1]"),
    ],
)  # fmt: skip
def test_sizes_that_the_weights_do_not_have(open_clip_folders, tmp_path, tower, part, key, value, found):
    def change(config):
        (config["model_cfg"] if part is None else config["model_cfg"][part])[key] = value

    folder = edited(open_clip_folders[tower, True], tmp_path, "open_clip_config.json", change)
    with pytest.raises(ValueError, match="is not of these weights") as caught:
        clip_lightning.load(folder)
    assert f"{key} is {value}, and the weights have {found}" in str(caught.value)


def test_an_image_size_of_two_numbers(open_clip_folders, tmp_path):
    def change(size):
        return lambda config: config["model_cfg"]["vision_cfg"].update(image_size=size)

    folder = edited(open_clip_folders["vit", True], tmp_path, "open_clip_config.json", change([64, 64]))
    assert clip_lightning.load(folder).model.pixels.size == 64
    for size, told in (
        ([64, 96], "[64, 96], and images of 64 x 96 pixels cannot be taken here: they are square"),
        ([96, 96], "is 96, and the weights have 64"),
        ([64, 64, 3], "[64, 64, 3], which is not a whole number"),
        ([64, "64"], "'64', which is not a whole number"),
    ):
        edit_json(folder / "open_clip_config.json", change(size))
        with pytest.raises(ValueError, match=re.escape(told)):
            clip_lightning.load(folder)


@pytest.mark.parametrize(("tower", "found"), [("vision_config", 2), ("text_config", 2)])
def test_layers_that_transformers_file_has_and_the_weights_do_not(transformers_folders, tmp_path, tower, found):
    change = lambda config: config[tower].update(num_hidden_layers=3)  # noqa: E731
    folder = edited(transformers_folders["gelu"], tmp_path, "config.json", change)
    with pytest.raises(ValueError, match=rf"{tower}\.num_hidden_layers is 3, and the weights have {found}"):
        clip_lightning.load(folder)


@pytest.mark.parametrize("place", ["visual.transformer.resblocks", "transformer.resblocks"])
def test_weights_without_a_layer_between_others(open_clip_folders, tmp_path, place):
    tensors = load_file(open_clip_folders["vit", True] / "open_clip_model.safetensors")
    torn = {name: tensor for name, tensor in tensors.items() if not name.startswith(f"{place}.0.")}
    save_file(torn, tmp_path / "torn.safetensors")
    tower = "image_encoder" if place.startswith("visual") else "text_encoder"
    with pytest.raises(ValueError, match=rf"is not whole: it lacks {tower}\.layers\.0, and has 1 of"):
        clip_lightning.load(tmp_path / "torn.safetensors", quick_gelu=True)


def test_weights_without_their_last_layer_beside_their_configuration(open_clip_folders, tmp_path):
    folder = shutil.copytree(open_clip_folders["vit", True], tmp_path / "torn")
    tensors = load_file(folder / "open_clip_model.safetensors")
    torn = {name: tensor for name, tensor in tensors.items() if not name.startswith("transformer.resblocks.1.")}
    save_file(torn, folder / "open_clip_model.safetensors")
    with pytest.raises(ValueError, match=r"text_cfg\.layers is 2, and the weights have 1"):
        clip_lightning.load(folder)


@pytest.fixture
def processed(transformers_folders, tmp_path):
    """A folder whose processor was written as a whole, by version 5."""
    folder = shutil.copytree(transformers_folders["gelu"], tmp_path / "processed")
    (folder / "preprocessor_config.json").unlink()
    tokenizer = CLIPTokenizer(vocab={"<|startoftext|>": 0, "<|endoftext|>": 1}, merges=[])
    images = CLIPImageProcessor(size={"shortest_edge": 64}, crop_size=64, image_mean=MEAN, image_std=STD, resample=2)
    CLIPProcessor(images, tokenizer).save_pretrained(folder)
    assert not (folder / "preprocessor_config.json").exists()
    return folder


def test_the_processor_of_version_5_is_read(processed):
    pixels = clip_lightning.load(processed).model.pixels
    assert (pixels.mean, pixels.std, pixels.interpolation) == (MEAN, STD, "bilinear")
    assert pixels.resize == "shortest"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"size": {"shortest_edge": 72}}, "has size {'shortest_edge': 72}, and the weights take images of 64 pixels"),
        ({"size": {"height": 64, "width": 80}}, "has size {'height': 64, 'width': 80}, and the weights take images"),
        ({"crop_size": 96}, "has crop_size 96, and the weights take images of 64 pixels"),
        ({"size": [64]}, "has size [64], and the weights take"),
        ({"do_normalize": False}, "has do_normalize false; images are always resized, scaled to 0-1 and normalised"),
        ({"do_resize": False}, "has do_resize false"),
        ({"do_rescale": False}, "has do_rescale false"),
        ({"do_normalize": "no"}, "has do_normalize 'no', which is not true or false"),
        ({"rescale_factor": 1}, "has rescale_factor 1; pixels are divided by 255 here"),
        ({"do_center_crop": False}, "has do_center_crop false, and no height and width as size"),
        ({"image_mean": [0.5]}, "has image_mean [0.5], which is not three numbers"),
        ({"image_std": [0, 1, 1]}, "has image_std [0, 1, 1], which is not three numbers above 0"),
        ({"resample": 0}, "has resample 0, which is not one of 2, 3"),
    ],
)  # fmt: skip
def test_pixels_that_cannot_be_prepared_so(processed, changes, told):
    edit_json(processed / "processor_config.json", lambda config: config["image_processor"].update(changes))
    with pytest.raises(ValueError, match=re.escape(f"processor_config.json {told}")):
        clip_lightning.load(processed)


def test_a_whole_image_is_squashed_with_a_crop_of_its_size_or_without(processed, tmp_path):
    for crops in (True, False):
        changes = {"size": {"height": 64, "width": 64}, "do_center_crop": crops}
        edit_json(
            processed / "processor_config.json", lambda config, new=changes: config["image_processor"].update(new)
        )
        assert clip_lightning.load(processed).model.pixels.resize == "squash"


@pytest.mark.parametrize("value", ["96", 96.0, 0, -3, True])
@pytest.mark.parametrize("name", ["image_size", "context_length"])
def test_sizes_that_are_none(open_clip_folders, name, value):
    with pytest.raises(ValueError, match=re.escape(f"{name} {value!r} is no whole number above 0")):
        clip_lightning.load(open_clip_folders["vit", True], **{name: value})


@pytest.mark.parametrize(
    ("name", "shape"),
    [("token_embedding.weight", (5,)), ("positional_embedding", ()), ("visual.conv1.weight", (0, 3, 16, 16)),
     ("text_projection", (5,)), ("visual.class_embedding", ())],
)  # fmt: skip
def test_tensors_without_the_axes_of_theirs(open_clip_folders, tmp_path, name, shape):
    tensors = load_file(open_clip_folders["vit", True] / "open_clip_model.safetensors")
    save_file({**tensors, name: torch.zeros(shape)}, tmp_path / "odd.safetensors")
    with pytest.raises(ValueError, match=r"holds no CLIP of the paper's architecture|weights do not fit"):
        clip_lightning.load(tmp_path / "odd.safetensors", quick_gelu=True)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_weights_of_a_compiled_model(open_clip_folders, tmp_path, prefix):
    folder = open_clip_folders["vit", True]
    tensors = load_file(folder / "open_clip_model.safetensors")
    torch.save({f"{prefix}{name}": tensor for name, tensor in tensors.items()}, tmp_path / "compiled.pt")
    loaded = clip_lightning.load(tmp_path / "compiled.pt", quick_gelu=True).model.state_dict()
    for name, tensor in clip_lightning.load(folder).model.state_dict().items():
        assert torch.equal(loaded[name], tensor), name
