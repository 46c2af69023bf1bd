"""Optimisers of other libraries over our groups, against a few lines of numpy."""

import functools

import numpy as np
import pytest
import timm.optim
import torch
from torch import nn

from clip_lightning.models import CLIP, ModifiedResNet, TextTransformer, VisionTransformer
from clip_lightning.models.base import TextEncoder
from clip_lightning.optim import build_optimizer

LION = functools.partial(timm.optim.Lion, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.5)
MUON = functools.partial(
    timm.optim.Muon, lr=1e-2, weight_decay=0.1, betas=(0.9, 0.98), eps=1e-6, ns_coefficients="original"
)


def model():
    text = TextTransformer(context_length=6, vocab_size=20, width=16, depth=1, num_heads=2)
    return CLIP(VisionTransformer(image_size=32, patch_size=16, width=16, depth=2, num_heads=2), text, embed_dim=8)


def train(module, optimizer, steps):
    """Trains on random gradients; yields weights and gradients by name before each step, and in the end."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        for parameter in module.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        yield {
            name: (p.detach().double().numpy().copy(), p.grad.double().numpy()) for name, p in module.named_parameters()
        }
        optimizer.step()


def test_lion_decays_matrices_alone():
    module = model()
    optimizer = build_optimizer(LION, module, fused=True)
    expected, moments = {}, {}
    for taken in train(module, optimizer, 6):
        for name, (weight, gradient) in taken.items():
            weight = expected.get(name, weight)
            moment = moments.get(name, np.zeros_like(weight))
            decay = 0.5 if gradient.ndim >= 2 and "position" not in name and "class" not in name else 0.0
            sign = np.sign(0.9 * moment + 0.1 * gradient)
            expected[name] = weight * (1 - 1e-3 * decay) - 1e-3 * sign
            moments[name] = 0.99 * moment + 0.01 * gradient
    for name, parameter in module.named_parameters():
        np.testing.assert_allclose(parameter.detach().numpy(), expected[name], atol=2e-6, err_msg=name)


def orthogonalized(matrix):
    """Five steps of Newton and Schulz's iteration with Jordan's coefficients."""
    x = matrix / np.linalg.norm(matrix)
    if x.shape[0] > x.shape[1]:
        return orthogonalized(matrix.T).T
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


def test_muon_takes_hidden_matrices_and_adamw_the_rest():
    module = model()
    optimizer = build_optimizer(MUON, module, fused=True)
    start = {name: p.detach().double().numpy().copy() for name, p in module.named_parameters()}
    expected, first, second = {}, {}, {}
    for step, taken in enumerate(train(module, optimizer, 4), start=1):
        for name, (weight, gradient) in taken.items():
            weight = expected.get(name, weight)
            is_matrix = gradient.ndim >= 2 and "position" not in name and "class" not in name
            decayed = weight * (1 - 1e-2 * 0.1 * is_matrix)
            beta = 0.95 if ".layers." in name and is_matrix else 0.9
            first[name] = beta * first.get(name, 0.0) + (1 - beta) * gradient
            second[name] = 0.98 * second.get(name, 0.0) + 0.02 * gradient**2
            if ".layers." in name and is_matrix:
                expected[name] = decayed - 1e-2 * 0.2 * max(gradient.shape) ** 0.5 * orthogonalized(first[name])
            else:
                root = np.sqrt(second[name] / (1 - 0.98**step)) + 1e-6
                expected[name] = decayed - 1e-2 * first[name] / (1 - 0.9**step) / root
    for name, parameter in module.named_parameters():
        error = np.linalg.norm(parameter.detach().numpy() - expected[name])
        moved = np.linalg.norm(expected[name] - start[name])
        is_muon = optimizer.state[parameter]["use_muon"]
        assert is_muon == (".layers." in name and parameter.ndim == 2), name
        # Muon iterates in bfloat16.
        assert error < (0.03 if is_muon else 1e-4) * moved, name


def test_the_parts_of_muon_are_groups_with_their_learning_rates():
    module = model()
    hidden = module.image_encoder.blocks()[0].mlp.expand.weight
    factors = {hidden: 0.5, module.image_projection.weight: 0.5}
    optimizer = build_optimizer(MUON, module, fused=False, lr_factors=factors)
    found = {parameter: group for group in optimizer.param_groups for parameter in group["params"]}
    assert set(found) == set(module.parameters())
    assert found[hidden]["lr"] == 5e-3
    assert "use_fallback" not in found[hidden]
    assert found[module.image_projection.weight]["lr"] == 5e-3
    for parameter in (module.image_projection.weight, module.text_encoder.token_embedding.weight, module.logit_scale):
        assert found[parameter]["use_fallback"]
    assert found[module.text_encoder.token_embedding.weight]["weight_decay"] == 0.1
    assert found[module.logit_scale]["weight_decay"] == 0.0
    assert all(group["params"] for group in optimizer.param_groups)


def test_muon_takes_the_convolutions_of_a_resnet_s_stages_and_not_its_stem_and_pool():
    encoder = ModifiedResNet(image_size=32, blocks=(1, 1, 1, 1), output_dim=16, width=8, num_heads=2)
    optimizer = build_optimizer(MUON, encoder, fused=False)
    fallback = {p for group in optimizer.param_groups if group.get("use_fallback") for p in group["params"]}
    inside = {p for block in encoder.blocks() for p in block.parameters() if p.ndim >= 2}
    assert inside
    assert not inside & fallback
    assert fallback | inside == set(encoder.parameters())


class Flat(TextEncoder):
    """A tower that says nothing of its layers."""

    def __init__(self):
        super().__init__(context_length=4, vocab_size=5, output_dim=8)
        self.embedding = nn.Embedding(5, 8)

    def forward(self, text, length):
        return self.embedding(text[:, 0])


@pytest.mark.parametrize(
    ("optimizer", "module", "message"),
    [
        (functools.partial(torch.optim.Muon), model(), r"timm\.optim\.Muon"),
        (MUON, Flat(), r"Flat says nothing of its layers.*blocks\(\)"),
        (functools.partial(timm.optim.Lion, betas=(0.9, 2.0)), model(), r"Lion: .*2\.0"),
        (functools.partial(timm.optim.Adafactor), model(), "Adafactor has no lr of its own"),
    ],
)
def test_what_cannot_be_is_refused(optimizer, module, message):
    with pytest.raises(ValueError, match=message):
        build_optimizer(optimizer, module, fused=False)
