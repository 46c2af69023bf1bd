"""Tile by tile the losses are those of the dense formulas, in value and in every gradient."""

import functools

import open_clip.loss
import pytest
import torch
from dense import dense_contrastive, dense_sigmoid, embeds, numbers, value_and_gradients

from clip_lightning.objectives import contrastive_loss, sigmoid_loss

KINDS = {
    "contrastive": (contrastive_loss, dense_contrastive, (30.0,)),
    "sigmoid": (sigmoid_loss, dense_sigmoid, (8.0, -3.0)),
}
IDS = {
    "distinct": None,
    "some": [0, 1, 0, 2, 2, 2, 3, 4, 5, 6, 7],
    "one": [4] * 11,
    "negative": [-(2**60), 3, 2**60, 3, -(2**60), -1, 8, 9, 9, 9, 9],
}
IMAGE_IDS = [0, 0, 1, 1, 2, 3, 4, 5, 5, 5, 6]


def both(kind, ids=None, tile_size=1024, image_ids=None):
    ours, dense, factors = KINDS[kind]
    identities = {"text_id": ids, "image_id": image_ids}
    ours = functools.partial(ours, **identities, tile_size=tile_size)
    return ours, functools.partial(dense, ids=ids, image_ids=image_ids), factors


def related(n, d, dtype, noise=0.5):
    """Images near their texts, as they are when something has been learned."""
    text = embeds(n, d, seed=1)
    image = torch.nn.functional.normalize(text + noise * embeds(n, d, seed=2), dim=1)
    return image.to(dtype), text.to(dtype)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tile_size", [1, 2, 3, 4, 5, 11, 12, 1024])
@pytest.mark.parametrize("ids", IDS)
def test_fp64_is_the_dense_formula(kind, tile_size, ids):
    text_id = None if IDS[ids] is None else torch.tensor(IDS[ids])
    ours, dense, factors = both(kind, text_id, tile_size)
    inputs = embeds(11, seed=1), embeds(11, seed=2), *numbers(*factors)
    for mine, theirs in zip(value_and_gradients(ours, *inputs), value_and_gradients(dense, *inputs), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tile_size", [1, 4, 1024])
@pytest.mark.parametrize("ids", IDS)
def test_repeated_images_are_those_of_the_dense_formula(kind, tile_size, ids):
    """Where captions repeat as well, image a may share a caption with b, and b another with c."""
    text_id = None if IDS[ids] is None else torch.tensor(IDS[ids])
    ours, dense, factors = both(kind, text_id, tile_size, torch.tensor(IMAGE_IDS))
    inputs = embeds(11, seed=1), embeds(11, seed=2), *numbers(*factors)
    for mine, theirs in zip(value_and_gradients(ours, *inputs), value_and_gradients(dense, *inputs), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("embeddings", ["random", "learned"])
def test_fp32_is_the_dense_formula(kind, repeated, embeddings):
    ids = torch.arange(150) // 3 if repeated else None
    ours, dense, factors = both(kind, ids, 64)
    made = related(150, 32, torch.float32) if embeddings == "learned" else [embeds(150, 32, s).float() for s in (1, 2)]
    inputs = *made, *numbers(*factors, dtype=torch.float32)
    for mine, theirs in zip(value_and_gradients(ours, *inputs), value_and_gradients(dense, *inputs), strict=True):
        assert mine.dtype == torch.float32
        assert (mine - theirs).norm() <= 1e-6 * max(1, theirs.norm())


@pytest.mark.parametrize("scale", [1e-4, 1.0, 100.0])
def test_no_temperature_overflows_or_vanishes(scale):
    """At a scale of 100, logits of a column may be 200 apart, further than fp32 has exponentials."""
    text = embeds(24, 4, seed=3)
    image = torch.cat([text[:12], -text[12:]])
    inputs = image, text, *numbers(scale)
    exact = value_and_gradients(dense_contrastive, *inputs)
    single = value_and_gradients(
        functools.partial(contrastive_loss, tile_size=5), *(tensor.float() for tensor in inputs)
    )
    for mine, theirs in zip(single, exact, strict=True):
        assert (mine - theirs).norm() <= 3e-6 * max(theirs.norm(), 1)


@pytest.mark.parametrize("kind", KINDS)
def test_bf16_is_as_near_to_the_truth_as_dense_fp32(kind):
    ours, dense, factors = both(kind, tile_size=100)
    made = related(300, 64, torch.bfloat16, noise=1.5)
    half = *made, *numbers(*factors, dtype=torch.float32)
    exact = value_and_gradients(dense, *(tensor.double() for tensor in half))
    single = value_and_gradients(lambda image, text, *rest: dense(image.float(), text.float(), *rest), *half)
    mine = value_and_gradients(ours, *half)
    assert [tensor.dtype for tensor in mine] == [tensor.dtype for tensor in single]
    for found, reference, truth in zip(mine, single, exact, strict=True):
        error, allowed = (found - truth).norm(), (reference - truth).norm()
        assert error <= 1.001 * allowed + 2e-7 * truth.norm()


@pytest.mark.parametrize("kind", KINDS)
def test_open_clips_losses_are_the_same(kind):
    theirs = {"contrastive": open_clip.loss.ClipLoss(), "sigmoid": open_clip.loss.SigLipLoss()}[kind]
    ours, _, factors = both(kind, tile_size=7)
    inputs = embeds(20, seed=1), embeds(20, seed=2), *numbers(*factors)
    for mine, reference in zip(value_and_gradients(ours, *inputs), value_and_gradients(theirs, *inputs), strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_does_not_reach_the_logits(kind):
    ours, _, factors = both(kind, tile_size=7)
    inputs = *[embeds(20, 16, seed).float() for seed in (1, 2)], *numbers(*factors, dtype=torch.float32)
    expected = value_and_gradients(ours, *inputs)
    with torch.autocast("cpu", torch.bfloat16):
        found = value_and_gradients(ours, *inputs)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(found, expected, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_the_logits_is_kept(kind):
    ours, _, factors = both(kind, tile_size=32)
    n, d = 400, 4
    inputs = [tensor.requires_grad_() for tensor in (embeds(n, d, 1), embeds(n, d, 2), *numbers(*factors))]
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: sizes.append(tensor.numel()) or tensor, lambda x: x):
        ours(*inputs)
    assert sizes
    assert max(sizes) <= n * d


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_derivative_is_refused(kind):
    ours, _, factors = both(kind)
    image = embeds(4, seed=1).requires_grad_()
    loss = ours(image, embeds(4, seed=2), *numbers(*factors))
    with pytest.raises(RuntimeError, match="can be differentiated once"):
        torch.autograd.grad(loss, image, create_graph=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_that_is_kept_gives_its_gradient_again(kind):
    ours, _, factors = both(kind)
    image = embeds(6, seed=1).requires_grad_()
    loss = ours(image, embeds(6, seed=2), *numbers(*factors))
    first, second = (torch.autograd.grad(loss, image, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_shows(kind, value):
    ours, _, factors = both(kind, tile_size=3)
    image = embeds(7, seed=1)
    image[4, 2] = value
    assert not ours(image, embeds(7, seed=2), *numbers(*factors)).isfinite()


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_fit_is_refused(kind):
    ours, _, factors = KINDS[kind]
    factors = numbers(*factors)
    with pytest.raises(ValueError, match="3 image and 4 text"):
        ours(embeds(3), embeds(4), *factors)
    with pytest.raises(ValueError, match="2 identities do not belong to 3 captions"):
        ours(embeds(3), embeds(3), *factors, torch.zeros(2))
    with pytest.raises(ValueError, match="2 identities do not belong to 3 images"):
        ours(embeds(3), embeds(3), *factors, image_id=torch.zeros(2))
    with pytest.raises(ValueError, match="tile_size 0 is below 1"):
        ours(embeds(3), embeds(3), *factors, tile_size=0)
