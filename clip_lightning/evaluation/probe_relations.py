"""How zero-shot figures relate to probes over data sets: the paper's figures 5 and 8."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from clip_lightning.results import Result
from clip_lightning.stats import CONFIDENCE

FEWEST = 4
"""Data sets from which a correlation has an interval."""


class Pair(NamedTuple):
    """A data set with two figures of the same metric.

    Args:
        source: Its name.
        probe: Of a probe, 0-1.
        zero_shot: Of zero-shot classification, 0-1.
    """

    source: str
    probe: float
    zero_shot: float

    @property
    def difference(self) -> float:
        """Zero-shot less the probe."""
        return self.zero_shot - self.probe


class Relation(NamedTuple):
    """How well probes foretell zero-shot figures.

    Args:
        pairs: The data sets.
        correlation: Pearson's r.
        correlation_interval: 95 %, by Fisher's z.
        slope: Of the least-squares line of zero-shot over probe.
        slope_interval: 95 %, by t.
        intercept: Of that line.
    """

    pairs: list[Pair]
    correlation: float
    correlation_interval: tuple[float, float]
    slope: float
    slope_interval: tuple[float, float]
    intercept: float


def pairs_of(zero_shot: Sequence[Result], probes: Sequence[Result]) -> list[Pair]:
    """The data sets that have both, matched by name and metric, in the order of the zero-shot results.

    Args:
        zero_shot: Results of ``ZeroShot``; metrics that no probe has are left out.
        probes: Results of ``LinearProbe``, one a data set.

    Raises:
        ValueError: If two results are of the same data set and metric, or no data set has both.
    """
    own, others = _by_set(zero_shot), _by_set(probes)
    pairs = [Pair(key[0], others[key].value, row.value) for key, row in own.items() if key in others]
    if not pairs:
        raise ValueError(
            f"no data set has both figures by the same metric: zero-shot of {sorted(own)}, probes of {sorted(others)}"
        )
    return pairs


def zero_shot_minus_probe(zero_shot: Sequence[Result], probes: Sequence[Result]) -> list[Pair]:
    """What zero-shot gains over a probe, such as one of a supervised encoder, by data set, the largest gain first.

    Args:
        zero_shot: As of ``pairs_of``.
        probes: As of ``pairs_of``.

    Source: Radford et al. 2021 (arXiv 2103.00020), figure 5.
    """
    return sorted(pairs_of(zero_shot, probes), key=lambda pair: -pair.difference)


def zero_shot_over_probe(zero_shot: Sequence[Result], probes: Sequence[Result]) -> Relation:
    """Correlation of zero-shot figures with probes of the same features, and the line through them.

    Args:
        zero_shot: As of ``pairs_of``.
        probes: As of ``pairs_of``.

    Raises:
        ValueError: If fewer than four data sets have both, or all have the same figure.

    Source: Radford et al. 2021 (arXiv 2103.00020), figure 8; Fisher, "On the probable error of a coefficient of
        correlation deduced from a small sample", Metron 1921.
    """
    from scipy.stats import linregress, norm, t

    pairs = pairs_of(zero_shot, probes)
    x, y = ([getattr(pair, name) for pair in pairs] for name in ("probe", "zero_shot"))
    if len(pairs) < FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0:
        raise ValueError(f"{len(pairs)} data sets show no relation; give {FEWEST} or more, of different figures")
    line, level = linregress(x, y), (1 + CONFIDENCE) / 2
    half = float(t.ppf(level, len(pairs) - 2)) * line.stderr
    # A perfect correlation has no end; tanh of a large number is 1 too.
    center, spread = (
        math.atanh(min(max(line.rvalue, -1 + 1e-15), 1 - 1e-15)),
        norm.ppf(level) / math.sqrt(len(pairs) - 3),
    )
    ends = math.tanh(center - spread), math.tanh(center + spread)
    slope = float(line.slope)
    return Relation(pairs, float(line.rvalue), ends, slope, (slope - half, slope + half), float(line.intercept))


def _by_set(results: Sequence[Result]) -> dict[tuple[str, str], Result]:
    rows = {(row.source, row.metric): row for row in results}
    if len(rows) < len(results):
        raise ValueError("several results are of the same data set and metric; give those of one model and evaluator")
    return rows
