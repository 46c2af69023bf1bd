"""Which differences between variants are resolved, and what it would take to resolve the others."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from clip_lightning.stats import (
    PairedDifference,
    detectable_difference,
    holm,
    interval_over_seeds,
    paired_difference,
    pairs_needed,
)

ALPHA = 0.05

Values = Mapping[str, Mapping[int, float]]
"""A metric by variant and seed."""


@dataclass(frozen=True)
class Summary:
    """One variant by itself.

    Args:
        name: The variant.
        values: Its values by seed.
        mean: Over seeds; NaN where no run is finished.
        interval: 95 % interval of the mean; None for a single seed, and for a variant that was ended early.
        method: How the interval was made.
    """

    name: str
    values: Mapping[int, float]
    mean: float
    interval: tuple[float, float] | None
    method: str


@dataclass(frozen=True)
class Pair:
    """Two variants, compared seed by seed.

    Args:
        name: The one.
        other: The one that it is compared with.
        difference: ``name`` minus ``other``.
        p: Corrected for all comparisons that were made together (Holm).
        detectable: The smallest difference that so many seeds would find four times in five; None where the spread of
            the differences is not known.
        seeds_needed: About how many seeds would find a difference like this one four times in five; None where more
            than a thousand would not.
    """

    name: str
    other: str
    difference: PairedDifference
    p: float
    detectable: float | None
    seeds_needed: int | None

    @property
    def is_resolved(self) -> bool:
        """Whether the variants are told apart, at 5 % for all comparisons together."""
        return self.p < ALPHA


def summaries(values: Values, mode: Literal["max", "min"], dropped: Sequence[str] = ()) -> list[Summary]:
    """Each variant by itself, the best first.

    Args:
        values: A metric.
        mode: Whether more or less of it is better.
        dropped: Variants that were ended early.
    """
    found = []
    for name, of_seeds in values.items():
        mean = fmean(of_seeds.values()) if of_seeds else math.nan
        interval, method = interval_over_seeds(list(of_seeds.values()))
        found.append(Summary(name, of_seeds, mean, None if name in dropped else interval, method))
    sign = -1 if mode == "max" else 1
    return sorted(found, key=lambda one: math.inf if math.isnan(one.mean) else sign * one.mean)


def compare(values: Values, pairs: Sequence[tuple[str, str]]) -> list[Pair]:
    """Compares pairs of variants over the seeds that both have.

    Args:
        values: A metric.
        pairs: Names of variants; those without a common seed are left out.
    """
    found = []
    for name, other in pairs:
        common = sorted(values[name].keys() & values[other].keys())
        if common:
            ours, theirs = ([values[one][seed] for seed in common] for one in (name, other))
            found.append((name, other, paired_difference(ours, theirs)))
    corrected = holm([difference.p for _, _, difference in found])
    return [_pair(*one, p, len(found)) for one, p in zip(found, corrected, strict=True)]


def against(values: Values, baseline: str, dropped: Sequence[str] = ()) -> list[Pair]:
    """Compares every variant with the baseline, but for those that were ended early."""
    return compare(values, [(name, baseline) for name in values if name != baseline and name not in dropped])


def all_pairs(ranked: Sequence[Summary], values: Values, dropped: Sequence[str] = ()) -> list[Pair]:
    """Compares all variants with each other, the better one first, but for those that were ended early."""
    names = [one.name for one in ranked if one.name not in dropped]
    return compare(values, list(itertools.combinations(names, 2)))


def _pair(name: str, other: str, difference: PairedDifference, p: float, comparisons: int) -> Pair:
    if difference.n < 2 or difference.deviation == 0:
        return Pair(name, other, difference, p, None, None)
    # What Holm asks of the smallest of the p values; of the others it asks less.
    alpha = ALPHA / comparisons
    detectable = detectable_difference(difference.deviation, difference.n, alpha)
    return Pair(name, other, difference, p, detectable, pairs_needed(difference.mean, difference.deviation, alpha))


def pareto_front(points: Mapping[str, tuple[float, float]], mode: Literal["max", "min"]) -> list[str]:
    """Variants that no other one beats in both cost and metric.

    Args:
        points: Cost (less is better) and metric by name.
        mode: Whether more or less of the metric is better.

    Returns:
        Names in the order of their costs.
    """
    sign = 1 if mode == "max" else -1
    front: list[str] = []
    best = -math.inf
    for name in sorted(points, key=lambda one: (points[one][0], -sign * points[one][1])):
        if sign * points[name][1] > best:
            front.append(name)
            best = sign * points[name][1]
    return front
