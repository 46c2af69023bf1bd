"""The towers against open_clip's with the same weights."""

import pytest
import torch
from peer import models, pairs, randomize, to_peer

CASES = [("vit", False), ("vit", True), ("resnet", False), ("resnet", True)]


def same_weights(tower, quick_gelu):
    ours, theirs = models(tower, quick_gelu)
    randomize(ours)
    theirs.load_state_dict(to_peer(ours.state_dict()))
    return ours.eval(), theirs.eval()


@pytest.mark.parametrize(("tower", "quick_gelu"), CASES)
@torch.no_grad()
def test_features_are_open_clips(tower, quick_gelu):
    ours, theirs = same_weights(tower, quick_gelu)
    image, text = pairs(ours.pixels.size)
    for mine, reference in [
        (ours.encode_image(image), theirs.encode_image(image)),
        (ours.encode_text(text), theirs.encode_text(text)),
    ]:
        assert (mine - reference).norm() <= 1e-5 * reference.norm()
        assert reference.std(dim=0).min() > 1e-3, "the samples are told apart"


@pytest.mark.parametrize(("tower", "quick_gelu"), CASES)
def test_gradients_are_open_clips(tower, quick_gelu):
    ours, theirs = (model.double() for model in same_weights(tower, quick_gelu))
    if tower == "resnet":  # batch statistics too
        ours.train(), theirs.train()
    image, text = pairs(ours.pixels.size, torch.float64)
    for model in (ours, theirs):
        (model.encode_image(image) @ model.encode_text(text).T * model.logit_scale.exp()).log_softmax(-1)[
            0, 1
        ].backward()
    mine = to_peer({name: parameter.grad for name, parameter in ours.named_parameters()})
    reference = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    assert mine.keys() == reference.keys()
    scale = max(gradient.norm() for gradient in reference.values())
    for name, gradient in reference.items():
        # The bias of the keys has no effect in exact arithmetic, so its gradient has no relative error.
        assert (mine[name] - gradient).norm() <= 1e-9 * max(gradient.norm(), 1e-6 * scale), name


@pytest.mark.parametrize("tower", ["vit", "resnet"])
def test_a_fresh_model_is_distributed_as_openais(tower):
    ours, theirs = models(tower)
    mine = to_peer({name: parameter.detach() for name, parameter in ours.named_parameters()})
    for name, reference in theirs.named_parameters():
        tolerance = 5 / reference.numel() ** 0.5
        spread = reference.detach().std(correction=0)
        assert mine[name].std(correction=0) == pytest.approx(spread.item(), rel=tolerance), name
        assert (mine[name].mean() - reference.mean()).abs() <= tolerance * spread, name


@pytest.mark.parametrize(
    ("name", "std"),
    [
        ("token_embedding.weight", 0.02),
        ("position_embedding", 0.01),
        ("layers.1.attention.in_projection.weight", 64**-0.5),
        ("layers.1.attention.out_projection.weight", 64**-0.5 * 6**-0.5),
        ("layers.2.mlp.expand.weight", 128**-0.5),
        ("layers.2.mlp.contract.weight", 64**-0.5 * 6**-0.5),
    ],
)
def test_the_text_tower_starts_with_the_released_standard_deviations(name, std):
    from clip_lightning.models import TextTransformer

    parameter = TextTransformer(32, 200, width=64, depth=3, num_heads=2).get_parameter(name)
    assert parameter.std().item() == pytest.approx(std, rel=0.05)
