"""Position embeddings for other sizes."""

import pytest
import torch

from clip_lightning.models import CLIP, TimmImageEncoder
from clip_lightning.models.positions import fit_positions, resize_context, resize_grid


def plane(side, slope=1.0):
    """A class token and a grid whose value rises evenly from one edge of the image to the other."""
    middles = (torch.arange(side) + 0.5) / side
    grid = slope * middles[:, None] + 2 * slope * middles[None]
    return torch.cat([torch.tensor([9.0]), grid.flatten()])[:, None]


@pytest.mark.parametrize(("old", "new"), [(7, 14), (14, 7), (16, 24)])
def test_an_even_slope_stays_one(old, new):
    resized = resize_grid(plane(old), new**2 + 1)
    assert resized[0] == 9, "the class token has no place"
    inner = resized[1:].view(new, new)[2:-2, 2:-2]
    expected = plane(new)[1:].view(new, new)[2:-2, 2:-2]
    # At the edges, what lies outside is taken to be as the edge.
    torch.testing.assert_close(inner, expected, atol=0.02, rtol=0)


def test_antialiasing_averages_what_becomes_smaller():
    checks = torch.cat([torch.zeros(1), (torch.arange(16)[:, None] + torch.arange(16)).remainder(2).flatten().float()])
    resized = resize_grid(checks[:, None], 4**2 + 1)[1:]
    assert (resized - 0.5).abs().max() < 0.1, "without it, a checkerboard would become black or white"


def test_rows_and_columns_are_not_exchanged():
    resized = resize_grid(plane(4), 8**2 + 1)[1:].view(8, 8)
    assert resized.diff(dim=1).mean() == pytest.approx(2 * resized.diff(dim=0).mean().item(), rel=1e-4)


def test_the_same_size_is_the_same_tensor():
    embedding = torch.randn(17, 3)
    assert resize_grid(embedding, 17) is embedding
    assert resize_context(embedding, 17) is embedding


def test_half_precision_stays_half_precision():
    assert resize_grid(torch.randn(17, 3).half(), 26).dtype == torch.float16
    assert resize_context(torch.randn(8, 3).half(), 4).dtype == torch.float16


@pytest.mark.parametrize(("rows", "positions"), [(18, 26), (17, 27), (17, 0)])
def test_what_is_no_square_grid_is_refused(rows, positions):
    with pytest.raises(ValueError, match="no square grid"):
        resize_grid(torch.randn(rows, 3), positions)


def test_another_model_is_left_as_it_is():
    given = {"image_encoder.position_embedding": torch.randn(17, 3), "logit_scale": torch.ones(())}
    wanted = {"image_encoder.position_embedding": torch.randn(26, 3), "logit_scale": torch.ones(())}
    fitted, said = fit_positions(given, wanted)
    assert fitted["image_encoder.position_embedding"].shape == (26, 3)
    assert said == ["17 image position embeddings were interpolated to 26"]
    fitted, said = fit_positions(given, wanted | {"more": torch.ones(1)})
    assert fitted["image_encoder.position_embedding"].shape == (17, 3)
    assert said == []


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_tiny_r_s16_p8_224", "test_vit"])
def test_positions_of_timms_models_are_resized_as_timm_does(name):
    from timm.models.vision_transformer import checkpoint_filter_fn

    trained, larger = (CLIP(TimmImageEncoder(name, image_size=size), None, embed_dim=8) for size in (64, 96))
    tensors, said = fit_positions(trained.state_dict(), larger.state_dict(), prefix="")
    given = {key.removeprefix("image_encoder.model."): value for key, value in trained.state_dict().items()}
    expected = checkpoint_filter_fn(given, larger.image_encoder.model)
    assert torch.equal(tensors["image_encoder.model.pos_embed"], expected["pos_embed"])
    assert len(said) == 1
    larger.load_state_dict(tensors)
