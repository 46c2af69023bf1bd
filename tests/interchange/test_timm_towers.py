"""Models with an image tower of timm go to open_clip and come from it, with the same features."""

import re
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
from open_clip.push_to_hf_hub import save_for_hf
from PIL import Image
from released import MEAN, STD, TEXTS, edit_json, randomize
from safetensors.torch import load_file

import clip_lightning
from clip_lightning.interchange import start_from
from clip_lightning.interchange.export import export
from clip_lightning.interchange.export.model_card import RunFacts
from clip_lightning.interchange.parts import Parts, read_parts
from clip_lightning.models import CLIP, HFTextEncoder, Pixels, TextTransformer, TimmImageEncoder
from clip_lightning.objectives import Contrastive
from clip_lightning.text import CLIPTokenizer

TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"


def parts_with(name, projection=True, **arguments):
    """A model of ours with a tower of timm, whose gains, biases and statistics have values too."""
    image = TimmImageEncoder(name, **arguments)
    text = TextTransformer(16, TEXT["vocab_size"], width=32, depth=1, num_heads=2)
    model = CLIP(image, text, embed_dim=24 if projection else None, image_projection=projection).eval()
    randomize(model)
    card = {"path": "run.ckpt", "format": "clip_lightning", "config": None}
    return Parts(model, CLIPTokenizer(16), Contrastive(), card, [])


def theirs(folder, vision, **changes):
    """What open_clip pushes to the hub, of a model with random weights; gives that model."""
    config = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": TEXT, **changes}
    arguments = {name: value for name, value in config.items() if name != "custom_text"}
    model = (open_clip.CustomTextCLIP if changes.get("custom_text") else open_clip.CLIP)(**arguments).eval()
    randomize(model)
    model.visual.image_mean, model.visual.image_std = MEAN, STD
    model.visual.preprocess_cfg = {"interpolation": "bilinear", "resize_mode": "squash"}
    save_for_hf(model, SimpleNamespace(save_pretrained=lambda folder: None), config, folder)
    return model


@torch.no_grad()
def assert_same(model, reference):
    colours = 2 * torch.randn(3, 3, 1, 1)  # of noise alone, a Vision Transformer with random weights tells little
    image = colours + torch.randn(3, 3, model.pixels.size, model.pixels.size)
    tokens = CLIPTokenizer(16)(TEXTS)
    pairs = (
        (model.encode_image(image), reference.encode_image(image)),
        (model.encode_text(tokens), reference.encode_text(tokens)),
    )
    for mine, expected in pairs:
        assert mine.shape == expected.shape
        assert (mine - expected).norm() <= 1e-5 * expected.norm()
        assert expected.std(dim=0).norm() > 1e-3 * expected.norm(), "the samples are told apart"
    assert model.logit_scale == reference.logit_scale


@pytest.mark.parametrize(
    ("name", "projection", "arguments"),
    [
        ("test_resnet", True, {"image_size": 64, "drop_path": 0.1, "pixels": Pixels(64, MEAN, STD, "bilinear")}),
        ("test_convnext", "mlp", {"image_size": 64}),
        ("test_resnet", False, {"image_size": 48}),
        ("test_vit", "mlp", {"pooling": "cls", "patch_dropout": 0.5}),
        ("test_vit", True, {"pooling": "average"}),
        ("test_vit3", False, {}),
        ("test_vit", False, {"projection_dim": 24}),
    ],
)
def test_there_and_back(name, projection, arguments, tmp_path):
    parts = parts_with(name, projection, **arguments)
    export(parts, "open_clip", tmp_path / "out", RunFacts())
    where = f"local-dir:{tmp_path / 'out'}"
    reference, _, preprocess = open_clip.create_model_and_transforms(where)
    assert_same(parts.model, reference.eval())
    size = parts.model.pixels.size
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8))
    pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None]
    torch.testing.assert_close(preprocess(photo)[None], parts.model.normalize(pixels))
    assert torch.equal(open_clip.get_tokenizer(where)(TEXTS), parts.tokenizer(TEXTS))

    again = read_parts(tmp_path / "out")
    expected = parts.model.state_dict()
    assert again.model.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in again.model.state_dict().items())
    assert repr(again.model) == repr(parts.model)
    assert again.model.pixels == parts.model.pixels
    assert again.said == []
    image = torch.randn(2, 3, size, size)
    assert torch.equal(again.model.encode_image(image), parts.model.encode_image(image))


@pytest.mark.parametrize(
    ("vision", "changes"),
    [
        ({"timm_model_name": "test_resnet", "image_size": 64}, {}),
        ({"timm_model_name": "test_resnet", "timm_pool": "", "image_size": [64, 64]}, {"custom_text": True}),
        ({"timm_model_name": "test_convnext", "timm_proj": "mlp", "timm_drop_path": 0.1, "image_size": 64}, {}),
        ({"timm_model_name": "test_vit3", "timm_pool": "map", "timm_proj": "none", "image_size": 160},
         {"custom_text": True, "embed_dim": 96, "quick_gelu": True}),
        ({"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": None, "image_size": 160}, {}),
        ({"timm_model_name": "test_vit", "timm_pool": "avg", "image_size": 160}, {}),
    ],
)  # fmt: skip
def test_open_clips_own_folders(vision, changes, tmp_path):
    reference = theirs(tmp_path / "in", vision, **changes)
    pretrained = clip_lightning.load(tmp_path / "in")
    assert_same(pretrained.model, reference)
    size = pretrained.model.pixels.size
    assert pretrained.model.pixels == Pixels(size, MEAN, STD, "bilinear", "squash")

    export(read_parts(tmp_path / "in"), "open_clip", tmp_path / "out", RunFacts())
    told, expected = (
        {name.removeprefix("text."): tensor for name, tensor in load_file(tmp_path / folder / WEIGHTS).items()}
        for folder in ("out", "in")
    )
    assert told.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in told.items())


RESNET = {"timm_model_name": "test_resnet", "image_size": 64}


@pytest.fixture(scope="module")
def resnet_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("timm") / "resnet"
    return folder, theirs(folder, RESNET)


def test_a_checkpoint_of_its_training_needs_its_configuration_beside_it(resnet_folder, tmp_path):
    folder, reference = resnet_folder
    tensors = {f"module.{name}": tensor for name, tensor in reference.state_dict().items()}
    torch.save({"epoch": 1, "name": "run", "state_dict": tensors, "optimizer": {}}, tmp_path / "epoch_1.pt")
    with pytest.raises(ValueError, match=r"does not say which model of timm it is; put open_clip_config\.json beside"):
        clip_lightning.load(tmp_path / "epoch_1.pt")
    (tmp_path / CONFIG).write_text((folder / CONFIG).read_text())
    assert_same(clip_lightning.load(tmp_path / "epoch_1.pt").model, reference)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"timm_model_name": "test_resnett"}, "timm_model_name 'test_resnett', and cannot be read: timm has no model "
         "'test_resnett'; nearest: test_resnet"),
        ({"timm_model_name": 3}, "timm_model_name 3, which is not a text"),
        ({"timm_pool": "abs_attn", "timm_proj": ""}, "timm_pool 'abs_attn' with timm_proj '', and cannot be read: "
         "timm's 'test_resnet' has the pooling 'avg'"),
        ({"timm_pool": "", "timm_proj": "none"}, "timm_pool '' with timm_proj 'none', and cannot be read"),
        ({"timm_proj_bias": True}, "timm_proj_bias true, and cannot be read: a linear projection has no bias"),
        ({"timm_proj": "three"}, "timm_proj 'three', which is not one of 'linear', 'mlp', 'none', '', None"),
        ({"timm_drop_path": 2}, "timm_drop_path 2, which is not a probability"),
        ({"image_size": [64, 32]}, "image_size [64, 32], and images of 64 x 32 pixels cannot be taken here"),
        ({"image_size": "64"}, "image_size '64', which is not a whole number"),
        ({"ls_init_value": 0.1}, "vision_cfg.ls_init_value 0.1"),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_is_named(resnet_folder, tmp_path, changes, told):
    (tmp_path / WEIGHTS).write_bytes((resnet_folder[0] / WEIGHTS).read_bytes())
    (tmp_path / CONFIG).write_text((resnet_folder[0] / CONFIG).read_text())
    edit_json(tmp_path / CONFIG, lambda config: config["model_cfg"]["vision_cfg"].update(changes))
    with pytest.raises(ValueError, match=re.escape(told)) as caught:
        clip_lightning.load(tmp_path)
    assert str(tmp_path / CONFIG) in str(caught.value)


def test_dropout_of_the_head_is_said_to_be_left_out(resnet_folder, tmp_path):
    (tmp_path / WEIGHTS).write_bytes((resnet_folder[0] / WEIGHTS).read_bytes())
    (tmp_path / CONFIG).write_text((resnet_folder[0] / CONFIG).read_text())
    edit_json(tmp_path / CONFIG, lambda config: config["model_cfg"]["vision_cfg"].update(timm_drop=0.1))
    with pytest.warns(UserWarning, match=r"timm_drop 0\.1, which acts in training alone, is left out"):
        assert_same(clip_lightning.load(tmp_path).model, resnet_folder[1])


@pytest.mark.parametrize(
    ("name", "projection", "arguments", "told"),
    [
        ("test_vit", True, {"image_size": 64}, "makes timm's 'test_vit' for images of 160 pixels alone, and this model "
         "takes 64; give image_size 160"),
        ("test_resnet", True, {"image_size": 64, "pooling": "attention"}, "no place for pooling 'attention'"),
        ("test_convnext", True, {"image_size": 64, "pooling": "average"}, "makes another model of timm's"),
        ("test_vit", False, {"pooling": "average"}, "makes another model of timm's 'test_vit' with pooling 'average'"),
        ("mobilenetv3_small_050", True, {"image_size": 64}, "projects 288 channels of timm's 'mobilenetv3_small_050', "
         "which returns 1024"),
        ("test_vit", True, {"projection_dim": 8}, "both projection_dim 8 and image_projection True"),
    ],
)  # fmt: skip
def test_what_open_clip_would_make_otherwise_is_refused(name, projection, arguments, told, tmp_path):
    with pytest.raises(ValueError, match=f"open_clip.*{re.escape(told)}"):
        export(parts_with(name, projection, **arguments), "open_clip", tmp_path / "out", RunFacts())
    assert list(tmp_path.iterdir()) == []


def test_a_text_model_of_transformers_is_refused_with_the_reason(tmp_path):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    config = {"model_type": "bert", "vocab_size": 30, "max_position_embeddings": 16, **sizes}
    parts = parts_with("test_resnet", image_size=32)
    model = CLIP(parts.model.image_encoder, HFTextEncoder(16, 30, config=config), embed_dim=8)
    with pytest.raises(ValueError, match=r"never in the folder of the weights.*HFTextEncoder offline; safetensors"):
        export(parts._replace(model=model.eval()), "open_clip", tmp_path / "out", RunFacts())


def test_another_image_size_makes_it_fit(tmp_path):
    export(parts_with("test_vit", image_size=64), "safetensors", tmp_path / "own", RunFacts())
    parts = read_parts(tmp_path / "own", image_size=160)
    assert parts.said == ["17 image position embeddings were interpolated to 101"]
    export(parts, "open_clip", tmp_path / "out", RunFacts())
    assert_same(parts.model, open_clip.create_model(f"local-dir:{tmp_path / 'out'}").eval())
    with pytest.warns(UserWarning, match="101 image position embeddings were interpolated to 17"):
        assert clip_lightning.load(tmp_path / "out", image_size=64).model.pixels.size == 64


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("test_resnet", {"pooling": "average"}, "was trained with pooling own, and the model has pooling average"),
        ("test_vit", {}, "of another model"),
        ("test_resnet", {}, None),
    ],
)
def test_a_start(resnet_folder, name, arguments, told):
    folder, reference = resnet_folder
    model = parts_with(name, image_size=64, **arguments).model
    task = torch.nn.ModuleDict({"model": model})
    if told:
        with pytest.raises(ValueError, match=told):
            start_from(task, model, str(folder))
    else:
        assert all("pixels" in said for said in start_from(task, model, str(folder)))
        assert_same(model, reference)


@pytest.mark.slow
def test_a_start_of_weights_that_were_another_model_of_timm_with_the_same_shapes(tmp_path):
    export(parts_with("vit_tiny_patch16_224", image_size=32), "safetensors", tmp_path / "out", RunFacts())
    model = parts_with("deit_tiny_patch16_224", image_size=32).model
    told = "trained with name vit_tiny_patch16_224, and the model has name deit_tiny_patch16_224 in its image_encoder"
    with pytest.raises(ValueError, match=told):
        start_from(torch.nn.ModuleDict({"model": model}), model, str(tmp_path / "out"))
