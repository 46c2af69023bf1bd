"""Confidence intervals of a figure from its samples."""

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray as NDArray

CONFIDENCE = 0.95
RESAMPLES = 2000


def wilson_interval(successes: float, n: float) -> tuple[float, float]:
    """95 % interval of a proportion; unlike the normal one it has a width at 0 and at 1, and stays between them.

    Args:
        successes: Number of hits, 0 to ``n``; a fraction where ties are shared.
        n: Number of trials, at least 1; of trials that depend on each other, how many independent ones they are worth.

    Returns:
        Lower and upper end, fractions 0-1.

    Raises:
        ValueError: If there is no trial, or more hits than trials.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} trials make no proportion; give 0 <= successes <= n, n >= 1")
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    fraction = successes / n
    shrink = 1 + z * z / n
    center = (fraction + z * z / (2 * n)) / shrink
    half = z / shrink * math.sqrt(fraction * (1 - fraction) / n + z * z / (4 * n * n))
    # At 0 and at 1 the ends are exact; rounding must not move the value out of its own interval.
    return min(max(0.0, center - half), fraction), max(min(1.0, center + half), fraction)


def bootstrap_mean_per_class(
    values: Float[NDArray, "samples"], classes: Int[NDArray, "samples"], seed: int = 0
) -> tuple[float, float] | None:
    """95 % percentile bootstrap interval of the mean over classes of each class's mean.

    Samples are drawn anew within each class, so the class counts stay as they are.

    Args:
        values: What is averaged, one for each sample.
        classes: Class of each sample.
        seed: Of the random draws.

    Returns:
        Lower and upper end; None if resampling cannot show the spread: a class has a single sample, or in every class
        all values are equal.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    rng = np.random.default_rng(seed)
    means = np.zeros(RESAMPLES)
    present = np.unique(classes)
    for label in present:
        # Counts of the few distinct values are drawn instead of the samples: the same distribution, without the memory.
        distinct, counts = np.unique(values[classes == label], return_counts=True)
        n = counts.sum()
        if n < 2:
            return None
        means += rng.multinomial(n, counts / n, size=RESAMPLES) @ distinct / n
    return _percentiles(means / len(present))


def bootstrap_interval(
    statistic: Callable[[Int[NDArray, "samples"]], float], n: int, seed: int = 0
) -> tuple[float, float] | None:
    """95 % percentile bootstrap interval of any function of samples.

    Args:
        statistic: The figure when each sample counts as often as it says; NaN where it is not defined, as of a class
            that no sample drawn belongs to. Such draws are left out.
        n: Number of samples, at least 1.
        seed: Of the random draws.

    Returns:
        Lower and upper end; None if all draws give the same, which shows no spread.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    rng = np.random.default_rng(seed)
    draws = (np.bincount(rng.integers(n, size=n), minlength=n) for _ in range(RESAMPLES))
    return _percentiles(np.array([statistic(counts) for counts in draws]))


def _percentiles(draws: Float[NDArray, "draws"]) -> tuple[float, float] | None:
    """The middle 95 % of draws; None where they show no spread."""
    defined = draws[~np.isnan(draws)]
    if len(defined) == 0 or np.ptp(defined) == 0:
        return None
    low, high = np.quantile(defined, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def clustered_interval(
    values: Float[NDArray, "samples"], clusters: Int[NDArray, "samples"]
) -> tuple[float, float] | None:
    """95 % interval of the mean of values 0-1, of which those of a cluster depend on each other.

    It is Wilson's for as many independent samples as have the spread of the clusters, so it has a width at 0 and 1 too.

    Args:
        values: What is averaged.
        clusters: Cluster of each sample, such as the image that a caption is of.

    Returns:
        Lower and upper end; None if there is one cluster alone.

    Source: Franco et al., "Comparative study of confidence intervals for proportions in complex sample surveys", 2019.
    """
    n = _independent(values, clusters)
    return None if n is None else wilson_interval(float(values.mean()) * n, n)


def clustered_median_interval(
    values: Float[NDArray, "samples"], clusters: Int[NDArray, "samples"]
) -> tuple[float, float] | None:
    """95 % interval of the median, where the samples of a cluster depend on each other.

    Args:
        values: Of which the median is taken.
        clusters: Cluster of each sample.

    Returns:
        Lower and upper end, each one of the values; None if there is one cluster alone.

    Source: Woodruff, "Confidence intervals for medians and other position measures", JASA 1952.
    """
    n = _independent((values <= np.median(values)).astype(float), clusters)
    if n is None:
        return None
    low, high = np.quantile(values, wilson_interval(n / 2, n), method="inverted_cdf")
    return float(low), float(high)


def _independent(values: Float[NDArray, "samples"], clusters: Int[NDArray, "samples"]) -> float | None:
    """Number of independent hits and misses whose mean would vary as that of the values does; no more than these."""
    _, member = np.unique(clusters, return_inverse=True)
    number, mean = int(member.max()) + 1, values.mean()
    if number < 2:
        return None
    spread = float((np.bincount(member, values - mean) ** 2).sum()) * number / (number - 1) / len(values) ** 2
    if spread == 0:
        return float(number)
    return min(max(float(mean * (1 - mean)) / spread, 1.0), float(len(values)))
