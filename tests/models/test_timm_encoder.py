"""Models of timm as image towers; weights are never downloaded."""

import pytest
import timm
import torch

from clip_lightning.models import Pixels, TimmImageEncoder
from clip_lightning.spec import spec_of


def test_the_pixels_are_those_that_the_model_was_made_for():
    tower = TimmImageEncoder("resnet10t", image_size=64)
    data = timm.data.resolve_model_data_config(tower.model)
    assert tower.pixels == Pixels(64, tuple(data["mean"]), tuple(data["std"]), data["interpolation"])
    assert tower.pixels.mean != Pixels(64).mean


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "test_vit", "mobilenetv3_small_050", "test_convnext.r160_in1k"]
)
@torch.no_grad()
def test_a_tower_takes_its_image_size_and_returns_its_output_dim(name):
    tower = TimmImageEncoder(name, image_size=64).eval()
    # In the tower's own memory layout, in which convolutions round differently.
    image = torch.randn(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    assert tower(image).shape == (2, tower.output_dim)
    assert torch.equal(tower(image), tower.model.forward_head(tower.model.forward_features(image), pre_logits=True))


def test_the_image_size_is_the_weights_own_by_default():
    tower = TimmImageEncoder("test_vit.r160_in1k")
    assert tower.image_size == tower.pixels.size == 160


def test_building_leaves_the_running_statistics_fresh():
    tower = TimmImageEncoder("resnet10t", image_size=32)
    assert tower.model.bn1.running_mean.eq(0).all()
    assert all(module.training for module in tower.modules())


def test_a_specification_asks_for_no_weights(monkeypatch):
    create = timm.create_model
    asked = []
    monkeypatch.setattr(
        timm, "create_model", lambda name, pretrained, **rest: (asked.append(pretrained), create(name, **rest))[1]
    )
    tower = TimmImageEncoder("test_vit", pretrained=True)
    assert asked == [True]
    assert spec_of(tower)["init_args"] == {"name": "test_vit", "pretrained": False, "image_size": None}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet5O", "no model 'resnet5O'; nearest: .*resnet50"),
        ("resnet18.a1_in1", r"no model 'resnet18\.a1_in1'; nearest: .*resnet18\.a1_in1k"),
        ("qqqqqqqq", r"nearest: none, see timm\.list_models"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name, words):
    with pytest.raises(ValueError, match=words):
        TimmImageEncoder(name)


def test_a_size_that_the_model_cannot_take_is_refused():
    with pytest.raises(ValueError, match="'test_vit' does not take images of 50 pixels"):
        TimmImageEncoder("test_vit", image_size=50)
