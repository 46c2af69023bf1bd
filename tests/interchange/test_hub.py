"""Names of the hub, through its real client, with a cache in place of a network."""

import json
import shutil
import subprocess
import sys

import pytest
import timm
import torch
from safetensors.torch import save_file
from transformers import CLIPModel

import clip_lightning

COMMIT = "0123456789012345678901234567890123456789"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub, and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def snapshot(cache, repository):
    """Where the files of a repository are, once they were downloaded."""
    root = cache / f"models--{repository.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT)
    (root / "snapshots" / COMMIT).mkdir(parents=True)
    return root / "snapshots" / COMMIT


def test_a_model_of_open_clip(cache, open_clip_folders, image):
    shutil.copytree(open_clip_folders["vit", True], snapshot(cache, "me/clip"), dirs_exist_ok=True)
    loaded = clip_lightning.load("hf-hub:me/clip")
    expected = clip_lightning.load(open_clip_folders["vit", True])
    assert torch.equal(loaded.model.encode_image(image), expected.model.encode_image(image))
    assert loaded.card["path"] == "hf-hub:me/clip"


def test_a_model_of_transformers(cache, transformers_folders, image):
    shutil.copytree(transformers_folders["gelu"], snapshot(cache, "me/clip"), dirs_exist_ok=True)
    loaded, expected = (clip_lightning.load(path) for path in ("hf-hub:me/clip", transformers_folders["gelu"]))
    assert torch.equal(loaded.model.encode_image(image), expected.model.encode_image(image))
    assert loaded.model.pixels == expected.model.pixels


@pytest.mark.parametrize("files", [[], ["open_clip_config.json"]])
def test_a_model_that_is_not_here(cache, open_clip_folders, files):
    folder = snapshot(cache, "me/clip")
    for file in files:
        shutil.copy(open_clip_folders["vit", True] / file, folder)
    with pytest.raises(ValueError, match="'hf-hub:me/clip' is not among the models on this machine"):
        clip_lightning.load("hf-hub:me/clip")


def test_a_name_that_is_none(cache):
    with pytest.raises(ValueError, match=r"'hf-hub:a/b/c' cannot be had from the hub"):
        clip_lightning.load("hf-hub:a/b/c")


def test_a_model_of_timm(cache):
    reference = timm.create_model("test_resnet", num_classes=10).eval()
    settings = timm.get_pretrained_cfg("test_resnet")
    folder = snapshot(cache, settings.hf_hub_id)
    weights = {name: tensor for name, tensor in reference.state_dict().items() if not name.startswith("fc.")}
    full = timm.create_model("test_resnet").state_dict()
    save_file({**full, **weights}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"architecture": "test_resnet"}))
    loaded = clip_lightning.load("timm:test_resnet")
    size = loaded.model.pixels.size
    images = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)
    features = loaded.model.encode_image(loaded.model.normalize(images))
    with torch.no_grad():
        pooled = reference.forward_head(reference.forward_features(loaded.model.normalize(images)), pre_logits=True)
    torch.testing.assert_close(features, pooled)
    assert loaded.model.text_encoder is None
    assert loaded.transform(images[0].permute(1, 2, 0).numpy()).shape == (3, size, size)
    with pytest.raises(ValueError, match="'timm:test_resnet' has an image tower alone"):
        loaded.tokenizer(["a cat"])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"context_length": 16}, "context_length 16 cannot be had of 'timm:test_vit'"),
        ({"quick_gelu": False}, "quick_gelu False cannot be had of 'timm:test_vit'"),
        ({"context_length": 16, "quick_gelu": True}, "context_length 16 and quick_gelu True cannot be had of"),
    ],
)
def test_a_model_of_timm_takes_no_texts_and_has_its_activation(cache, given, told):
    with pytest.raises(ValueError, match=told):
        clip_lightning.load("timm:test_vit", **given)


def test_a_model_of_transformers_in_several_files(cache, transformers_folders, image):
    folder = snapshot(cache, "me/clip")
    CLIPModel.from_pretrained(transformers_folders["gelu"]).save_pretrained(folder, max_shard_size="5MB")
    loaded, expected = (clip_lightning.load(path) for path in ("hf-hub:me/clip", transformers_folders["gelu"]))
    assert torch.equal(loaded.model.encode_image(image), expected.model.encode_image(image))
    next(folder.glob("model-00001-of-*.safetensors")).unlink()
    with pytest.raises(ValueError, match="'hf-hub:me/clip' is not among the models on this machine"):
        clip_lightning.load("hf-hub:me/clip")


def test_a_model_of_timm_that_is_not_here(cache):
    with pytest.raises(ValueError, match="the weights of timm's 'test_vit' are not on this machine"):
        clip_lightning.load("timm:test_vit")
    with pytest.raises(ValueError, match="timm has no model 'test_vitt'; nearest: test_vit"):
        clip_lightning.load("timm:test_vitt")


@pytest.mark.slow
def test_load_imports_no_other_library(open_clip_folders):
    """A folder is read without the library that wrote it."""
    code = f"""import sys, clip_lightning
clip_lightning.load({str(open_clip_folders["vit", True])!r})
print([name for name in ("open_clip", "transformers", "onnx", "timm", "lightning") if name in sys.modules])"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
