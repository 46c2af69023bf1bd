"""How a probe's figure grows with its training images, and how many of them another figure is worth."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray as NDArray

from clip_lightning.evaluation.draws import drawn_per_class
from clip_lightning.evaluation.metrics import value_of
from clip_lightning.evaluation.probe import best_fit, fit_penalties

VALIDATED = 4
"""Images of a class, at most, that choose the penalty of a few-shot probe, and never more than train it."""

Rows = tuple[Float[NDArray, "samples channels"], Int[NDArray, "samples"]]


class Point(NamedTuple):
    """A point of the curve.

    Args:
        shots: Training images of a class.
        values: The metric for each draw of the images.
    """

    shots: float
    values: list[float]

    @property
    def mean(self) -> float:
        """Over the draws."""
        return float(np.mean(self.values))


def few_shot_values(
    train: Rows,
    val: Rows | None,
    test: Rows,
    shots: Sequence[int],
    seed: int,
    metric: str,
    device: str,
    accepted: Bool[NDArray, "samples classes"] | None = None,
) -> list[float]:
    """A probe for each number of shots; more shots are the fewer ones and further images.

    The penalty is chosen on up to ``VALIDATED`` images a class, no more than shots, which train no probe.

    Args:
        train: Rows and labels, with more than the largest number of shots for each class where ``val`` is None.
        val: Rows and labels of which the validation images are drawn; None takes further ones of ``train``.
        test: Rows and labels.
        shots: Training images of a class.
        seed: Of the draw.
        metric: One of ``metrics.Metric``.
        device: Where PyTorch fits what is large.
        accepted: Which classes count as right for each test sample; None for its label alone.

    Source: the validation images follow Zhou et al. 2022 (arXiv 2109.01134), section 4.1.
    """
    values = []
    for number in shots:
        chosen = drawn_per_class(train[1], number, np.random.default_rng(seed))
        own = train[0][chosen], train[1][chosen]
        rest = np.setdiff1d(np.arange(len(train[1])), chosen)
        pool = (train[0][rest], train[1][rest]) if val is None else val
        validating = drawn_per_class(pool[1], min(number, VALIDATED), np.random.default_rng(seed))
        validation = pool[0][validating], pool[1][validating]
        classifier = best_fit(fit_penalties(*own, *validation, metric=metric, device=device)).classifier
        values.append(value_of(metric, classifier.scores(test[0]), test[1], accepted))
    return values


def worth_in_shots(points: Sequence[Point], value: float) -> dict[str, float]:
    """How many training images of a class a probe needs for a value, linearly between points on a logarithmic scale.

    Args:
        points: Of the curve, by ascending shots; where it falls again, its first rise to the value counts.
        value: Such as that of zero-shot classification.

    Returns:
        ``{"shots": ...}``, or where the curve does not reach so far, ``{"fewer_than": ...}`` or ``{"more_than": ...}``
        with its first or last number: nothing is known beyond.

    Source: Radford et al. 2021 (arXiv 2103.00020), figure 7.
    """
    if value < points[0].mean:
        return {"fewer_than": points[0].shots}
    for low, high in zip(points, [*points[1:], points[-1]], strict=True):
        if low.mean == value:
            return {"shots": low.shots}
        if low.mean < value < high.mean:
            share = (value - low.mean) / (high.mean - low.mean)
            return {"shots": math.exp((1 - share) * math.log(low.shots) + share * math.log(high.shots))}
    return {"more_than": points[-1].shots}


def curve_details(points: Sequence[Point], zero_shot: float | None) -> dict[str, Any]:
    """The curve as plain data, with what zero-shot is worth on it.

    Args:
        points: By ascending shots.
        zero_shot: Zero-shot figure on the same images, if there is one.
    """
    details: dict[str, Any] = {
        "kind": "few_shot_curve",
        "points": [{"shots": point.shots, "mean": point.mean, "values": point.values} for point in points],
    }
    if zero_shot is not None:
        details |= {"zero_shot": zero_shot, "zero_shot_is_worth": worth_in_shots(points, zero_shot)}
    return details
