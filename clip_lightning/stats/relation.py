"""How one figure follows another over data sets."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from clip_lightning.stats.intervals import CONFIDENCE

FEWEST = 4
"""Points from which a correlation has an interval."""


class Relation(NamedTuple):
    """A correlation, and the least-squares line.

    Args:
        correlation: Pearson's r.
        correlation_interval: 95 %, by Fisher's z.
        slope: Of the line.
        slope_interval: 95 %, by t.
        intercept: Of the line.
    """

    correlation: float
    correlation_interval: tuple[float, float]
    slope: float
    slope_interval: tuple[float, float]
    intercept: float


def linear_relation(x: Sequence[float], y: Sequence[float]) -> Relation:
    """How ``y`` follows ``x``.

    Raises:
        ValueError: If there are fewer than four points, or one of both does not vary.

    Source: Fisher, "On the probable error of a coefficient of correlation deduced from a small sample", Metron 1921.
    """
    from scipy.stats import linregress, norm, t

    if len(x) < FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0:
        raise ValueError(f"{len(x)} points show no relation; give {FEWEST} or more, of different figures")
    line, level = linregress(x, y), (1 + CONFIDENCE) / 2
    half = float(t.ppf(level, len(x) - 2)) * line.stderr
    # A perfect correlation has no end; tanh of a large number is 1 too.
    center = math.atanh(min(max(line.rvalue, -1 + 1e-15), 1 - 1e-15))
    spread = norm.ppf(level) / math.sqrt(len(x) - 3)
    ends = math.tanh(center - spread), math.tanh(center + spread)
    slope = float(line.slope)
    return Relation(float(line.rvalue), ends, slope, (slope - half, slope + half), float(line.intercept))
