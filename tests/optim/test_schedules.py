"""Schedules against their formulas, and what a user is told of one that does not fit the training."""

import math

import pytest

from clip_lightning.optim import WarmupConstant, WarmupCosine, WarmupReciprocalSqrt


def test_the_cosine_warms_up_linearly_and_falls_like_a_cosine():
    schedule = WarmupCosine(warmup_steps=4, final_factor=0.1)
    assert [schedule(step, 20) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert schedule(4, 20) == 1.0
    assert schedule(12, 20) == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi * 8 / 16)) / 2)
    assert schedule(20, 20) == pytest.approx(0.1)
    assert schedule(500, 20) == pytest.approx(0.1)


def test_the_constant_rate_is_a_trapezoid():
    schedule = WarmupConstant(warmup_steps=2, cooldown_share=0.4, final_factor=0.2)
    expected = [0.5, 1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2, 0.2]
    assert [schedule(step, 10) for step in range(12)] == pytest.approx(expected)


def test_without_a_cool_down_the_rate_stays():
    assert {WarmupConstant(0, cooldown_share=0.0)(step, 10) for step in range(15)} == {1.0}


def test_the_reciprocal_square_root_is_that_of_transformers():
    schedule = WarmupReciprocalSqrt(warmup_steps=100)
    for step in (1, 50, 100, 101, 400, 10_000):
        # Vaswani et al. 2017, equation 3, over its largest value, at their step counted from 1.
        formula = min(step**-0.5, step * 100**-1.5) / 100**-0.5
        assert schedule(step if step > 100 else step - 1, 10_000) == pytest.approx(formula)


def test_a_time_scale_slows_the_fall_and_a_cool_down_ends_it():
    schedule = WarmupReciprocalSqrt(warmup_steps=10, timescale=1000, cooldown_share=0.1)
    assert schedule(1010, 10_000) == pytest.approx(0.5**0.5)
    assert schedule(9000, 10_000) == pytest.approx((1000 / 9990) ** 0.5)
    assert schedule(9500, 10_000) == pytest.approx((1000 / 10_490) ** 0.5 / 2)
    assert schedule(10_000, 10_000) == 0.0


@pytest.mark.parametrize(
    ("schedule", "arguments"),
    [
        (WarmupCosine, {"warmup_steps": -1}),
        (WarmupCosine, {"final_factor": 1.5}),
        (WarmupConstant, {"cooldown_share": 500}),
        (WarmupReciprocalSqrt, {"timescale": 0}),
        (WarmupReciprocalSqrt, {"warmup_steps": 0}),
    ],
)
def test_a_schedule_out_of_range_is_refused(schedule, arguments):
    with pytest.raises(ValueError, match=str(next(iter(arguments.values())))):
        schedule(**arguments)


def test_a_warm_up_that_does_not_end_is_told_of():
    assert "2,000 steps, but training has 300" in WarmupCosine().doubt(300)
    assert WarmupCosine().doubt(2000) is None
    assert "the last 60 are the cool-down" in WarmupConstant(warmup_steps=250).doubt(300)
    assert WarmupConstant(warmup_steps=240).doubt(300) is None
    # It trains all the same: up, and down from where it came to.
    factors = [WarmupConstant(warmup_steps=8, cooldown_share=0.5)(step, 10) for step in range(11)]
    assert max(factors) < 1
    assert factors[-1] == 0
    assert all(factor > 0 for factor in factors[:-1])
