"""How sure a calibration error is, which is above zero by chance even where a model is calibrated."""

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray as NDArray

from clip_lightning.evaluation.probabilities import BINS, bin_numbers, reliability
from clip_lightning.stats import bootstrap_interval

ERROR_METHOD = "basic bootstrap over samples; from 0 where a calibrated model shows as much by chance"
_RESAMPLES = 1000
_CHANCE = 0.95


def error_interval(
    confidence: Float[NDArray, "samples"], hits: Float[NDArray, "samples"], bins: int = BINS, seed: int = 0
) -> tuple[float, float] | None:
    """95 % interval of the expected calibration error.

    Samples drawn anew have a larger error than those that there are, by about as much as these have more than the
    truth. So the quantiles are those of the basic bootstrap, reflected at the value, and not those of the draws. An
    error that a calibrated model, which is right as often as its probabilities say, has as well in more than one of
    twenty cases has zero for its lower end.

    Args:
        confidence: Probability of each sample's likeliest class.
        hits: As of ``reliability``.
        bins: Number of bins.
        seed: Of the random draws.

    Returns:
        Lower and upper end; None if all draws give the same.

    Source: Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 5.2; for the calibrated model,
    Bröcker and Smith, "Increasing the reliability of reliability diagrams", 2007.
    """
    value, n = reliability(confidence, hits, bins).error(), len(hits)
    number, gaps = bin_numbers(confidence, bins), hits - confidence

    def error(weighted: Float[NDArray, "samples"]) -> float:
        return float(np.abs(np.bincount(number, weighted)).sum() / n)

    def resampled(counts: Int[NDArray, "samples"]) -> float:
        return error(gaps * counts)

    drawn = bootstrap_interval(resampled, n, seed)
    if drawn is None:
        return None
    rng = np.random.default_rng(seed)
    calibrated = [error((rng.random(n) < confidence) - confidence) for _ in range(_RESAMPLES)]
    is_chance = value <= np.quantile(calibrated, _CHANCE)
    low, high = 2 * value - drawn[1], 2 * value - drawn[0]
    return 0.0 if is_chance else min(max(low, 0.0), value), max(high, value)
