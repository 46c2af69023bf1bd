"""A step that is left out changes nothing, bit by bit; one that is not is torch's own."""

import copy

import pytest
import torch
from torch import nn

from clip_lightning.callbacks.skipping import RunningStatistics, norm_of, skip_where

OPTIMISERS = {
    "fused AdamW": lambda parameters: torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.5, fused=True),
    "fused AdamW, amsgrad": lambda parameters: torch.optim.AdamW(parameters, lr=0.1, amsgrad=True, fused=True),
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.5),
    "fused Adagrad": lambda parameters: torch.optim.Adagrad(parameters, lr=0.1, fused=True),
    "fused SGD": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.5, fused=True),
    "SGD": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.5),
    "RMSprop": lambda parameters: torch.optim.RMSprop(parameters, lr=0.1, momentum=0.9),
}


def trained(make, steps):
    """Parameters and moments after steps with gradients from a fixed stream; None is one that is not finite."""
    generator = torch.Generator().manual_seed(0)
    parameters = [nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(4))]
    optimizer = make(parameters)
    for is_good in steps:
        for parameter in parameters:
            parameter.grad = (
                torch.randn(parameter.shape, generator=generator) if is_good else torch.ones_like(parameter)
            )
        if not is_good:
            parameters[0].grad[1, 1] = float("nan")
        found = (~torch.isfinite(norm_of([parameter.grad for parameter in parameters]))).float()
        assert bool(found) is not is_good
        skip_where(found, optimizer)
        optimizer.step()
    state = [optimizer.state[parameter] for parameter in parameters]
    return copy.deepcopy([parameter.detach() for parameter in parameters]), copy.deepcopy(state)


@pytest.mark.parametrize("make", OPTIMISERS.values(), ids=OPTIMISERS)
@pytest.mark.parametrize("steps", [(False, True, True), (True, False, False, True)], ids=["first", "within"])
def test_a_skipped_step_leaves_no_trace(make, steps):
    with_bad, without = trained(make, steps), trained(make, [step for step in steps if step])
    torch.testing.assert_close(with_bad, without, rtol=0, atol=0)


def test_the_norm_is_that_of_all_gradients_together_and_does_not_overflow_in_half_precision():
    gradients = [torch.randn(5, 3), torch.randn(7)]
    whole = torch.cat([gradient.flatten() for gradient in gradients])
    torch.testing.assert_close(norm_of(gradients), whole.norm())
    large = torch.full((4,), 6e4, dtype=torch.float16)
    assert norm_of([large]).item() == pytest.approx(2 * float(large[0]))
    assert norm_of([]).item() == 0


@pytest.mark.parametrize("bad", [True, False])
def test_running_statistics_are_put_back_where_the_step_was_bad_alone(bad):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2))
    model(torch.randn(2, 3, 4, 4))
    before = copy.deepcopy(model.state_dict())
    statistics = RunningStatistics(model)
    statistics.keep()
    images = torch.randn(2, 3, 4, 4)
    images[0, 0, 0, 0] = float("nan") if bad else 1.0
    model(images)
    after = copy.deepcopy(model.state_dict())
    assert not torch.equal(after["1.running_mean"], before["1.running_mean"])
    statistics.restore_where(torch.tensor(float(bad)))
    for name, value in model.state_dict().items():
        assert torch.equal(value, (before if bad else after)[name]), name
