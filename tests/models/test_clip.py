"""The two-tower model: sizes, normalisation, temperature."""

import math

import numpy as np
import pytest
import torch

from clip_lightning.models import CLIP, ModifiedResNet, Pixels, TextTransformer, VisionTransformer
from clip_lightning.spec import build, spec_of


def vit(**changes):
    return VisionTransformer(**{"image_size": 16, "patch_size": 8, "width": 16, "depth": 1, "num_heads": 2} | changes)


def text_transformer(**changes):
    sizes = {"context_length": 10, "vocab_size": 30, "width": 24, "depth": 2, "num_heads": 2}
    return TextTransformer(**sizes | changes)


@pytest.fixture
def model():
    return CLIP(vit(), text_transformer(), embed_dim=8)


def published_text():
    return TextTransformer(77, 49408, width=512, depth=12, num_heads=8)


def test_parameter_counts_are_the_published_ones():
    with torch.device("meta"):
        vit_b_32 = CLIP(VisionTransformer(224, 32, 768, 12, 12), published_text(), embed_dim=512)
        rn50 = CLIP(ModifiedResNet(224, (3, 4, 6, 3), output_dim=1024), published_text(), image_projection=False)
    assert sum(parameter.numel() for parameter in vit_b_32.parameters()) == 151_277_313
    assert sum(parameter.numel() for parameter in rn50.parameters()) == 102_007_137
    assert rn50.image_encoder.attention_pool.num_heads == 32


def test_normalize_is_numpys():
    pixels = Pixels(16, mean=(0.1, 0.5, 0.7), std=(0.2, 0.3, 0.4))
    model = CLIP(vit(pixels=pixels), None, embed_dim=8)
    image = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    expected = (image.numpy() / 255 - np.reshape(pixels.mean, (3, 1, 1))) / np.reshape(pixels.std, (3, 1, 1))
    np.testing.assert_allclose(model.normalize(image).numpy(), expected, atol=1e-6)
    assert not any("pixel" in name for name in model.state_dict()), "the constructor gives them, not the weights"


def test_normalized_pixels_are_not_normalized_again(model):
    image = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"torch\.float32; give uint8"):
        model.normalize(model.normalize(image))


def test_features_are_projected_and_not_of_unit_length(model):
    image, text = torch.randn(3, 3, 16, 16), torch.randint(0, 30, (4, 6))
    image_features, text_features = model(image, text)
    assert image_features.shape == (3, 8)
    assert text_features.shape == (4, 8)
    projected = model.image_encoder(image) @ model.image_projection.weight.T
    torch.testing.assert_close(image_features, projected)
    assert (image_features.norm(dim=1) - 1).abs().min() > 1e-3


def test_a_text_ends_at_its_largest_id(model):
    text = torch.tensor([[5, 7, 29, 0, 0], [5, 29, 0, 0, 0]])
    torch.testing.assert_close(model.encode_text(text), model.encode_text(text, torch.tensor([3, 2])))
    assert not torch.allclose(model.encode_text(text), model.encode_text(text, torch.tensor([2, 2])))


def test_the_projections_start_with_the_inverse_root_of_the_width():
    model = CLIP(vit(width=64), text_transformer(width=128), embed_dim=256)
    assert model.image_projection.weight.std().item() == pytest.approx(64**-0.5, rel=0.05)
    assert model.text_projection.weight.std().item() == pytest.approx(128**-0.5, rel=0.05)


def test_the_temperature_starts_at_the_papers_and_is_capped_from_above(model):
    assert model.logit_scale.shape == ()
    assert model.logit_scale.exp().item() == pytest.approx(1 / 0.07)
    model.cap_logit_scale_()
    assert model.logit_scale.exp().item() == pytest.approx(1 / 0.07), "below the cap nothing changes"
    parameter = model.logit_scale
    parameter.data.fill_(7.0)
    model.cap_logit_scale_()
    assert model.logit_scale is parameter
    assert parameter.item() == pytest.approx(math.log(100))
    model.cap_logit_scale_(max_multiplier=10.0)
    assert parameter.exp().item() == pytest.approx(10)
    parameter.data.fill_(-3.0)
    model.cap_logit_scale_()
    assert parameter.item() == -3.0


@pytest.mark.parametrize("with_text", [True, False])
def test_a_specification_rebuilds_the_model(with_text):
    text = text_transformer(quick_gelu=True) if with_text else None
    image = ModifiedResNet(16, (1, 1), output_dim=8, width=8, pixels=Pixels(16, mean=(0.5, 0.5, 0.5)))
    model = CLIP(image, text, image_projection=False).eval()
    rebuilt = build(spec_of(model)).eval()
    rebuilt.load_state_dict(model.state_dict())
    assert spec_of(rebuilt) == spec_of(model)
    assert rebuilt.pixels == model.pixels
    pixels = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    assert torch.equal(rebuilt.encode_image(rebuilt.normalize(pixels)), model.encode_image(model.normalize(pixels)))


def test_the_shared_space_is_the_image_towers_output_without_a_projection():
    model = CLIP(vit(), text_transformer(), image_projection=False)
    assert model.embed_dim == 16
    assert model.encode_image(torch.randn(1, 3, 16, 16)).shape == (1, 16)
    with pytest.raises(ValueError, match=r"output_dim 16 is not embed_dim 8;.*image_projection=True"):
        CLIP(vit(), None, embed_dim=8, image_projection=False)
    with pytest.raises(ValueError, match="embed_dim is missing"):
        CLIP(vit(), None)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"embed_dim": 0}, "embed_dim 0 is not above 0"),
        ({"embed_dim": -3}, "embed_dim -3 is not above 0"),
        ({"embed_dim": 8, "image_projection": "linear"}, "image_projection 'linear' is none of True, False and 'mlp'"),
    ],
)
def test_what_makes_no_shared_space_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        CLIP(vit(), None, **arguments)


def test_pixels_that_are_not_normalized_are_refused(model):
    with pytest.raises(ValueError, match=r"images are torch\.uint8; call normalize first"):
        model.encode_image(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))


def test_two_layers_with_a_gelu_can_project():
    model = CLIP(vit(), None, embed_dim=8, image_projection="mlp").eval()
    pooled = torch.randn(3, 16)
    first, second = model.image_projection.expand, model.image_projection.contract
    assert first.out_features == 16
    expected = torch.nn.functional.gelu(pooled @ first.weight.T + first.bias) @ second.weight.T + second.bias
    torch.testing.assert_close(model.image_projection(pooled), expected)
    assert model.encode_image(torch.randn(2, 3, 16, 16)).shape == (2, 8)
    assert spec_of(build(spec_of(model))) == spec_of(model)
    with pytest.raises(ValueError, match="embed_dim is missing"):
        CLIP(vit(), None, image_projection="mlp")


def test_without_a_text_tower_text_is_refused():
    with pytest.raises(ValueError, match="no text encoder"):
        CLIP(vit(), None, embed_dim=8).encode_text(torch.zeros(1, 3, dtype=torch.int64))


def test_images_of_another_size_are_refused(model):
    with pytest.raises(ValueError, match=r"\(32, 32\) pixels; this model takes \(16, 16\)"):
        model.encode_image(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_model_computes_in_the_precision_it_is_moved_to(model, dtype):
    model.to(dtype)
    image = model.normalize(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
    assert image.dtype == model.encode_image(image).dtype == model.encode_text(torch.ones(1, 2).long()).dtype == dtype
