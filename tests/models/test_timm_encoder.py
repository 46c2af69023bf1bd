"""Models of timm as image towers; weights are never downloaded."""

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay

from clip_lightning.data import CenterCrop
from clip_lightning.models import CLIP, Pixels, TimmImageEncoder, TowerTuning
from clip_lightning.models.tuning import learning_rate_factors, parameters_by_depth
from clip_lightning.spec import build, spec_of


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
    described = spec_of(tower)["init_args"]
    assert (described["name"], described["pretrained"], described["image_size"]) == ("test_vit", False, None)


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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "test_vit", "image_size": 50}, "patch_size 16 of timm's 'test_vit' does not divide image_size 50"),
        ({"name": "vit_tiny_patch16_224", "image_size": 100}, "patch_size 16 .* does not divide image_size 100"),
        ({"name": "swin_tiny_patch4_window7_224", "image_size": 30}, "30"),
        ({"name": "test_efficientnet", "pooling": "cls"}, "'test_efficientnet' has no class token; .*'average'"),
        ({"name": "test_vit", "pooling": "attention", "patch_dropout": 0.5}, "'attention' needs all patches"),
        ({"name": "resnet10t", "patch_dropout": 0.5}, "'resnet10t' cannot be made with patch_drop_rate=0.5"),
        ({"name": "test_vit", "pooling": "avg"}, "pooling 'avg' is none of 'own', 'average', 'cls', 'attention'"),
        ({"name": "test_vit", "drop_path": 1.0}, "drop_path 1.0 is no probability from 0 to below 1"),
        ({"name": "test_vit", "patch_dropout": -0.5}, "patch_dropout -0.5 is no probability"),
    ],
)
def test_what_the_model_cannot_do_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        TimmImageEncoder(**arguments)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "swin_tiny_patch4_window7_224"])
@torch.no_grad()
def test_the_average_is_that_of_timms_positions(name):
    tower = TimmImageEncoder(name, image_size=64, pooling="average").eval()
    image = torch.randn(2, 3, 64, 64)
    positions = tower.model.forward_features(image)
    if name == "test_vit":
        expected = positions[:, 1:].mean(dim=1)
        cls = TimmImageEncoder(name, image_size=64, pooling="cls").eval()
        cls.load_state_dict(tower.state_dict())
        torch.testing.assert_close(cls(image), positions[:, 0])
    else:
        expected = positions.mean(dim=(1, 2) if name.startswith("swin") else (2, 3))
    torch.testing.assert_close(tower(image), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "vit_base_patch16_siglip_224"])
def test_an_attention_pool_takes_any_models_positions(name):
    with torch.device("meta" if "siglip" in name else "cpu"):
        tower = TimmImageEncoder(name, image_size=64, pooling="attention")
        pooled = tower(torch.randn(2, 3, 64, 64))
    assert pooled.shape == (2, tower.output_dim)
    positions = tower.attention_pool.position_embedding.shape[0] - 1
    assert positions == {"test_vit": 16, "test_convnext": 4, "vit_base_patch16_siglip_224": 16}[name]
    assert not any("head.fc" in key or "model.attn_pool" in key for key in tower.state_dict())


@pytest.mark.parametrize("pooling", ["own", "average", "attention"])
def test_a_specification_keeps_the_pooling_and_every_parameter_is_trained(pooling):
    share = 0.0 if pooling == "attention" else 0.5
    tower = TimmImageEncoder("test_vit3", image_size=32, pooling=pooling, drop_path=0.9, patch_dropout=share)
    rebuilt = build(spec_of(tower))
    rebuilt.load_state_dict(tower.state_dict())
    image = torch.randn(4, 3, 32, 32)
    assert torch.equal(rebuilt.eval()(image), tower.eval()(image))
    rebuilt.train()
    assert not torch.equal(rebuilt(image), rebuilt(image)), "patches and paths are dropped in training"
    rebuilt.eval()(image).square().sum().backward()
    assert not {name for name, parameter in rebuilt.named_parameters() if parameter.grad is None}


def test_the_data_are_prepared_with_the_models_own_mean_and_size():
    tower = TimmImageEncoder("resnet10t", image_size=48)
    model = CLIP(tower, None, embed_dim=4)
    data = timm.data.resolve_model_data_config(tower.model)
    assert CenterCrop.of(model.pixels).size == 48
    torch.testing.assert_close(model.pixel_mean.flatten(), torch.tensor(data["mean"]))
    torch.testing.assert_close(model.pixel_std.flatten(), torch.tensor(data["std"]))


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_efficientnet"])
def test_learning_rates_fall_by_layer_as_timms(name):
    with torch.device("meta"):
        tower = TimmImageEncoder(name)
    ours = learning_rate_factors(tower, TowerTuning(layer_decay=0.5))
    # What timm has in its last layer, but which stands behind it, such as a final norm, has the full rate here.
    behind = set(parameters_by_depth(tower)[-1])
    theirs = {
        parameter: group["lr_scale"]
        for group in param_groups_layer_decay(tower.model, layer_decay=0.5, no_opt_scale=0)
        for parameter in group["params"]
    }
    shift = {
        theirs[parameter] / ours.get(parameter, 1.0) for parameter in tower.parameters() if parameter not in behind
    }
    assert len(shift) == 1, "up to the place of the head, the rates are the same"


FAMILIES = {
    "vit_tiny_patch16_224": 32, "deit_tiny_patch16_224": 32, "deit3_small_patch16_224": 32,
    "swin_tiny_patch4_window7_224": 64, "swinv2_tiny_window8_256": 64, "convnext_atto": 64, "convnextv2_atto": 64,
    "efficientnet_b0": 64, "mobilenetv3_small_050": 64, "mobilenetv4_conv_small": 64, "maxvit_rmlp_pico_rw_256": 64,
    "coatnet_nano_rw_224": 64, "eva02_tiny_patch14_224": 28, "vit_base_patch16_siglip_224": 32,
    "vit_small_patch14_dinov2": 28, "vit_small_patch16_dinov3": 32, "regnetx_002": 64, "resnet10t": 64,
    "mixer_s32_224": 64, "nfnet_l0": 64, "levit_128s": 224, "mobilevit_xxs": 64, "cait_xxs24_224": 32,
    "xcit_nano_12_p8_224": 32, "densenet121": 64, "beit_base_patch16_224": 32, "fastvit_t8": 64,
    "edgenext_xx_small": 64, "efficientformer_l1": 224, "ghostnet_050": 64, "pvt_v2_b0": 64, "davit_tiny": 64,
    "test_byobnet": 64, "test_mambaout": 64, "poolformer_s12": 64,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_learns_from_images(name):
    tower = TimmImageEncoder(name, image_size=FAMILIES[name])
    size = tower.image_size
    image = torch.rand(3, 3, size, size)
    with torch.no_grad():
        for parameter in tower.parameters():  # some start with branches that are all but closed
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
        pooled = tower.eval()(image)
    assert pooled.shape == (3, tower.output_dim)
    assert pooled.isfinite().all()
    spread = (pooled[:, None] - pooled[None]).norm(dim=-1)
    assert spread[~torch.eye(3, dtype=torch.bool)].min() > 3e-5 * pooled.norm(), "images differ"
    trained = tower.train()(image)
    (trained * torch.randn_like(trained)).sum().backward()
    assert not {key for key, parameter in tower.named_parameters() if parameter.grad is None}
    assert len(tower.blocks()) >= 3
