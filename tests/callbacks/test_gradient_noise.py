"""The gradient noise scale, from Adam's moments, against the noise that was put in."""

import pytest
import torch

from clip_lightning.callbacks.gradient_noise import noise_scale
from clip_lightning.optim import HalfPrecisionAdamW


def after_steps(optimizer, parameters, signal, deviation, steps):
    """Steps with gradients of a known mean and noise, at a rate that moves nothing; the mean of the late estimates."""
    generator = torch.Generator().manual_seed(0)
    estimates = []
    for step in range(steps):
        for parameter, mean in zip(parameters, signal, strict=True):
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.grad = (mean + deviation * noise).to(parameter.dtype)
        optimizer.step()
        if step >= steps // 2:
            estimates.append(noise_scale(optimizer, pairs=64))
    return torch.stack(estimates).median().item()


@pytest.mark.parametrize("deviation", [0.3, 3.0])
@pytest.mark.parametrize("kind", [torch.optim.AdamW, HalfPrecisionAdamW])
def test_the_estimate_is_the_noise_that_was_put_in(kind, deviation):
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in ((40, 50), (300,))]
    signal = [torch.randn(p.shape, generator=torch.Generator().manual_seed(1)) for p in parameters]
    optimizer = kind([{"params": parameters[:1]}, {"params": parameters[1:], "weight_decay": 0.0}], lr=0.0)
    true = 64 * deviation**2 * 2300 / sum(part.square().sum() for part in signal).item()
    assert after_steps(optimizer, parameters, signal, deviation, 300) == pytest.approx(true, rel=0.15)


def test_the_early_estimate_knows_how_few_steps_there_were():
    parameters = [torch.nn.Parameter(torch.zeros(200, 200))]
    signal = [torch.ones(200, 200)]
    optimizer = torch.optim.AdamW(parameters, lr=0.0)
    assert after_steps(optimizer, parameters, signal, 2.0, 6) == pytest.approx(64 * 4, rel=0.1)


def test_nothing_is_said_without_moments_and_nothing_but_noise_is_no_number():
    parameter = torch.nn.Parameter(torch.zeros(2000))
    assert noise_scale(torch.optim.SGD([parameter], lr=0.1), 64) is None
    assert noise_scale(torch.optim.AdamW([parameter]), 64) is None
    optimizer = torch.optim.AdamW([parameter], lr=0.0)
    generator = torch.Generator().manual_seed(3)
    estimates = []
    for _ in range(60):
        parameter.grad = torch.randn(2000, generator=generator)
        optimizer.step()
        estimates.append(noise_scale(optimizer, 64))
    late = torch.stack(estimates[30:])
    assert (late.isnan() | (late > 64 * 20)).all(), "the mean gradient is zero"
