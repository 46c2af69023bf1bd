"""A metric over seeds, and the differences between variants."""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import nctdtr, stdtr, stdtrit

from clip_lightning.stats.intervals import CONFIDENCE, bootstrap_mean_per_class

POWER = 0.8
"""Chance to find a difference that there is, at which it counts as one that could have been detected."""

BOOTSTRAP_FROM = 20
"""Seeds from which percentiles of resamples cover the truth about as often as they say; over 3 it is 74 %, not 95 %."""


def t_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of the mean of normal values, such as a metric over seeds.

    Args:
        values: Independent values.

    Returns:
        Lower and upper end; None for fewer than two values, or where all are equal and the spread is not known.
    """
    n = len(values)
    if n < 2 or (error := float(np.std(values, ddof=1)) / math.sqrt(n)) == 0:
        return None
    mean, half = float(np.mean(values)), float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * error
    return mean - half, mean + half


def interval_over_seeds(values: Sequence[float], seed: int = 0) -> tuple[tuple[float, float] | None, str]:
    """95 % interval of a mean over seeds, and how it was made: by t, or from ``BOOTSTRAP_FROM`` seeds by percentiles.

    Args:
        values: A metric's value for each seed.
        seed: Of the random draws.

    Returns:
        Lower and upper end or None, and "t" or "percentile bootstrap".
    """
    if len(values) < BOOTSTRAP_FROM:
        return t_interval(values), "t"
    ends = bootstrap_mean_per_class(np.asarray(values, dtype=float), np.zeros(len(values), dtype=int), seed)
    return ends, "percentile bootstrap"


@dataclass(frozen=True)
class PairedDifference:
    """How much one variant is above another, from values that belong together in pairs.

    Args:
        n: Number of pairs.
        mean: Mean difference.
        deviation: Standard deviation of the differences; NaN for one pair.
        interval: 95 % t interval of the mean, not corrected for other comparisons; None where there is none.
        p: Two-sided p of a paired t test; 1 where the differences do not vary, since it then has nothing to measure by.
    """

    n: int
    mean: float
    deviation: float
    interval: tuple[float, float] | None
    p: float


def paired_difference(values: Sequence[float], others: Sequence[float]) -> PairedDifference:
    """Compares two variants seed by seed, so that what a seed does to both drops out.

    Args:
        values: One variant's value for each seed.
        others: The other one's, for the same seeds.

    Returns:
        ``values`` minus ``others``.

    Raises:
        ValueError: If there is no pair, or one of them lacks its other.
    """
    if len(values) != len(others) or not values:
        raise ValueError(f"{len(values)} and {len(others)} values make no pairs; give the same seeds of both")
    differences = np.subtract(values, others)
    n, mean = len(differences), float(differences.mean())
    deviation = float(differences.std(ddof=1)) if n > 1 else math.nan
    p = 1.0
    if n > 1 and deviation > 0:
        p = 2 * float(stdtr(n - 1, -abs(mean) / (deviation / math.sqrt(n))))
    return PairedDifference(n, mean, deviation, t_interval(differences.tolist()), p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrects p values for there being several of them, so that 5 % is the chance that any is below 0.05 by accident.

    Args:
        p_values: Of all comparisons that are made.

    Returns:
        Corrected ones in the same order, at most 1.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 1979.
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(np.argsort(p_values)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


def paired_power(difference: float, deviation: float, n: int, alpha: float) -> float:
    """Chance that a two-sided paired t test finds a difference.

    Args:
        difference: The true mean difference.
        deviation: Standard deviation of the differences, > 0.
        n: Number of pairs, >= 2.
        alpha: p below which it counts as found, 0-1.

    Source: Cohen, "Statistical Power Analysis for the Behavioral Sciences", 1988, chapter 2.
    """
    shift = abs(difference) / deviation * math.sqrt(n)
    bound = float(stdtrit(n - 1, 1 - alpha / 2))
    lower = nctdtr(n - 1, shift, -bound)
    # Far out in its tail the function is NaN, where there is nothing left of it.
    return float(1 - nctdtr(n - 1, shift, bound) + (0 if math.isnan(lower) else lower))


def detectable_difference(deviation: float, n: int, alpha: float) -> float:
    """The smallest difference that ``n`` pairs would find with a chance of ``POWER``.

    Args:
        deviation: Standard deviation of the differences, > 0.
        n: Number of pairs, >= 2.
        alpha: p below which it counts as found, 0-1.
    """
    low, high = 0.0, deviation
    while paired_power(high, deviation, n, alpha) < POWER:
        low, high = high, 2 * high
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if paired_power(middle, deviation, n, alpha) < POWER else (low, middle)
    return high


def pairs_needed(difference: float, deviation: float, alpha: float, at_most: int = 1000) -> int | None:
    """About how many pairs would find a difference as large as the one that was seen, with a chance of ``POWER``.

    Args:
        difference: The mean difference.
        deviation: Standard deviation of the differences, > 0.
        alpha: p below which it counts as found, 0-1.
        at_most: Where to stop counting.

    Returns:
        The number of pairs; None if it is more than ``at_most``.
    """
    counts = range(2, at_most + 1)
    place = bisect.bisect_left(counts, POWER, key=lambda n: paired_power(difference, deviation, n, alpha))
    return counts[place] if place < len(counts) else None
