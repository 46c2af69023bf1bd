"""AdamW in half precision: against AdamW in numpy and torch, where rounding to nearest stalls, and what it saves."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from clip_lightning.optim import HalfPrecisionAdamW, half_precision
from clip_lightning.optim.half_precision import draw_, round_stochastically_

SETTINGS = {"lr": 1e-2, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.1}


def parameters(*shapes, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in shapes]


def gradients_(trained, step):
    generator = torch.Generator().manual_seed(step)
    for parameter in trained:
        parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)


def random_words(number, place="here"):
    words = torch.empty(number, dtype=torch.int32)
    draw_(words, place)
    return words


def test_rounding_is_right_on_the_average_and_never_off_by_a_place():
    values = torch.tensor([1.001, -1.001, 3.1415926, 1e-30, -7e20, 0.0, 1.0, 0.5]).repeat(16_000, 1)
    rounded = values.clone().view(-1)
    rounding = [random_words(8 * 16_000) & 0xFFFF]
    round_stochastically_(rounded, rounding[0])
    assert torch.equal(rounded, rounded.to(torch.bfloat16).float())
    relative = (rounded.view_as(values).double() - values) / values.abs().clamp(min=1e-38)
    assert relative.abs().max() < 2**-7
    # Of 16,000 errors below 2^-7, the mean is within 4 standard errors of nothing.
    assert relative.mean(0).abs().max() < 4 * 2**-8 / 16_000**0.5
    exact = torch.tensor([1.0, -0.5, float("inf"), float("-inf")])
    again = exact.clone()
    round_stochastically_(again, torch.full((4,), 0xFFFF, dtype=torch.int32))
    assert torch.equal(again, exact)


def test_random_bits_are_even_and_independent_from_place_to_place():
    draws = np.stack([random_words(4096, f"step {step}").numpy() for step in range(64)]).astype(np.int64)
    bits = (draws[..., None] >> np.arange(32)) & 1
    assert abs(bits.mean((0, 1)) - 0.5).max() < 0.006, "each bit"
    assert abs(bits.mean((0, 2)) - 0.5).max() < 0.06, "each element over the steps"
    shares = draws & 0xFFFF
    correlation = np.corrcoef(shares[:-1].ravel(), shares[1:].ravel())[0, 1]
    assert abs(correlation) < 0.02
    assert torch.equal(random_words(100, "a"), random_words(200, "a")[:100])


def test_it_is_adamw_but_for_rounding():
    (trained,), (weight,) = parameters((300, 7)), [parameters((300, 7))[0].detach().double().numpy()]
    optimizer = HalfPrecisionAdamW([trained], **SETTINGS)
    first = second = np.zeros_like(weight)
    for step in range(1, 31):
        gradients_([trained], step)
        optimizer.step()
        gradient = trained.grad.double().numpy()
        first = 0.9 * first + 0.1 * gradient
        second = 0.98 * second + 0.02 * gradient**2
        update = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.98**step)) + 1e-6)
        weight = weight * (1 - 1e-2 * 0.1) - 1e-2 * update
        # Nothing has been rounded in the first step.
        assert np.abs(trained.detach().numpy() - weight).max() < (1e-6 if step == 1 else 0.02)
    moved = weight - parameters((300, 7))[0].detach().numpy()
    error = trained.detach().numpy() - weight
    assert np.sqrt((error**2).mean()) < 0.01 * np.sqrt((moved**2).mean())
    assert abs(error.mean()) < 1e-4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_neither_chunks_nor_formats_change_the_arithmetic(monkeypatch, dtype):
    shapes = [(8, 3, 5, 5), (40,), (), (70, 9)]
    monkeypatch.setattr(half_precision, "draw_", lambda words, place: words.fill_(0x7FFF7FFF))

    def train(size, **convert):
        half_precision._table.cache_clear()
        half_precision._workspace.cache_clear()
        monkeypatch.setattr(half_precision, "_CPU_CHUNK", size)
        trained = parameters(*shapes, dtype=dtype)
        trained[0].data = trained[0].data.to(**convert)
        optimizer = HalfPrecisionAdamW(trained, **SETTINGS)
        for step in range(5):
            gradients_(trained, step)
            optimizer.step()
        return [*trained, *(state["exp_avg_sq"] for state in optimizer.state.values())]

    whole = train(2**17)
    for other in (train(64), train(2**17, memory_format=torch.channels_last)):
        assert all(torch.equal(one, two) for one, two in zip(whole, other, strict=True))
    half_precision._table.cache_clear()
    half_precision._workspace.cache_clear()


def test_where_rounding_to_nearest_stalls_it_does_not():
    (trained,) = parameters((1000,))
    optimizer = HalfPrecisionAdamW([trained], lr=0.0, betas=(0.9, 0.999))
    nearest = torch.zeros(1000, dtype=torch.bfloat16)
    for _ in range(2000):
        trained.grad = torch.ones(1000)
        optimizer.step()
        nearest = (nearest.float() * 0.999 + 0.001).to(torch.bfloat16)
    truth = 1 - 0.999**2000
    assert nearest.float().mean() < 0.5 * truth
    second = optimizer.state[trained]["exp_avg_sq"].float()
    assert abs(second.mean() - truth) < 0.01
    assert second.std() < 0.1


def test_weights_in_half_precision_move_by_less_than_their_last_place():
    half, single = nn.Parameter(torch.ones(5000, dtype=torch.bfloat16)), nn.Parameter(torch.ones(5000))
    plain = nn.Parameter(torch.ones(5000, dtype=torch.bfloat16))
    settings = {"lr": 1e-4, "weight_decay": 0.0}
    optimizers = [HalfPrecisionAdamW([half], **settings), torch.optim.AdamW([single], **settings)]
    optimizers.append(torch.optim.AdamW([plain], **settings))
    for _ in range(100):
        for parameter in (half, single, plain):
            parameter.grad = torch.ones_like(parameter)
        for optimizer in optimizers:
            optimizer.step()
    assert single.detach().mean() == pytest.approx(0.99, abs=1e-4)
    assert half.detach().float().mean() == pytest.approx(0.99, abs=5e-4)
    assert plain.float().mean() == 1, "what torch's rounding does to them"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_continued_run_is_bit_equal(dtype):
    trained = parameters((200, 9), (31,), dtype=dtype)
    groups = [{"params": trained[:1]}, {"params": trained[1:], "weight_decay": 0.0}]
    optimizer = HalfPrecisionAdamW(groups, **SETTINGS)
    for step in range(12):
        if step == 5:
            saved = copy.deepcopy(([each.detach() for each in trained], optimizer.state_dict()))
        gradients_(trained, step)
        optimizer.step()
    continued = [nn.Parameter(each) for each in saved[0]]
    resumed = HalfPrecisionAdamW([{"params": continued[:1]}, {"params": continued[1:]}], lr=1.0)
    resumed.load_state_dict(saved[1])
    for step in range(5, 12):
        gradients_(continued, step)
        resumed.step()
    assert all(torch.equal(one, two) for one, two in zip(trained, continued, strict=True))
    for one, two in zip(optimizer.state.values(), resumed.state.values(), strict=True):
        assert two["exp_avg"].dtype == torch.bfloat16
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_its_state_takes_half_the_bytes():
    def state_bytes(optimizer):
        trained = optimizer.param_groups[0]["params"]
        gradients_(trained, 0)
        optimizer.step()
        return sum(tensor.nbytes for state in optimizer.state.values() for tensor in state.values() if tensor.ndim)

    half = state_bytes(HalfPrecisionAdamW(parameters((500, 20), (20,))))
    assert half == 4 * (500 * 20 + 20)
    assert half * 2 == state_bytes(torch.optim.AdamW(parameters((500, 20), (20,))))


def test_a_parameter_without_gradient_stays():
    trained = parameters((4,), (4,))
    trained[0].grad = torch.ones(4)
    optimizer = HalfPrecisionAdamW(trained)
    before = trained[1].detach().clone()
    optimizer.step()
    assert torch.equal(trained[1], before)
    assert trained[1] not in optimizer.state


@pytest.mark.parametrize("settings", [{"lr": -1.0}, {"betas": (0.9, 1.0)}, {"eps": -1e-8}, {"weight_decay": -0.5}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        HalfPrecisionAdamW(parameters((2,)), **settings)
