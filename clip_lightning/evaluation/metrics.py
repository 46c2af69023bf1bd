"""The metrics by which labelled data sets are rated, each with its interval and what it gives for a single sample."""

from collections.abc import Callable
from typing import NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray as NDArray

from clip_lightning.data.labelled import Metric
from clip_lightning.evaluation.accuracy import mean_per_class, top_k_credit
from clip_lightning.evaluation.ranking import Ranking
from clip_lightning.stats import bootstrap_interval, bootstrap_mean_per_class, wilson_interval

Interval = tuple[float, float] | None
MULTI_LABEL = ("mean_average_precision_11_point",)
"""Metrics of samples that have several labels each."""
PER_CLASS = "mean_per_class_accuracy"
"""The metric that is a mean over classes."""
_RANKINGS = (*MULTI_LABEL, "roc_auc")
NO_INTERVAL = "none: too few different samples to resample"
_EQUAL_IN_CLASSES = "none: within each class all images are right or all are wrong, or a class has one image alone"


class Measured(NamedTuple):
    """A metric of scores.

    Args:
        value: The figure, 0-1.
        interval: 95 % confidence interval, or None where none is defined.
        method: How the interval was made.
        items: What each sample gives, or None where the metric is of all samples together.
    """

    value: float
    interval: Interval
    method: str
    items: Float[NDArray, "samples"] | None


def measure(
    metric: str,
    scores: Float[NDArray, "samples classes"],
    target: Int[NDArray, "samples"] | Int[NDArray, "samples classes"],
    accepted: Bool[NDArray, "samples classes"] | None = None,
) -> Measured:
    """A metric with its 95 % interval.

    Args:
        metric: One of ``Metric``.
        scores: Of each class, larger is likelier. Equal scores are at chance among each other, a NaN is never right.
        target: Label of each sample, or 0/1 for each class where a sample has several (11-point mAP).
        accepted: Which classes count as right in accuracies; None for the target alone.

    Raises:
        ValueError: If the metric is unknown or not defined for such labels.
    """
    check_metric(metric)
    check_target(metric, target, scores.shape[1])
    if metric in _RANKINGS:
        return _of_samples(_ranking_value(metric, scores, target), len(scores), "bootstrap")
    items = _items(metric, scores, target if accepted is None else accepted)
    value, (interval, method) = _mean(metric, items, target), _interval(metric, items, target)
    return Measured(value, interval, method, items)


def check_metric(metric: str) -> None:
    """Refuses the name of no metric.

    Raises:
        ValueError: If it is not one of ``Metric``.
    """
    if metric not in get_args(Metric):
        raise ValueError(f"there is no metric {metric!r}; use one of {', '.join(get_args(Metric))}")


def check_target(metric: str, target: Int[NDArray, "samples"] | Int[NDArray, "samples classes"], classes: int) -> None:
    """Refuses labels of which a metric is not defined, before anything is scored.

    Raises:
        ValueError: If samples have too few or too many labels, or the classes that it needs do not occur.
    """
    if metric in MULTI_LABEL:
        if target.shape != (len(target), classes):
            raise ValueError(f"{metric} needs 0 or 1 for each sample and class, not labels of shape {target.shape}")
        if not target.any():
            raise ValueError(f"{metric} needs a sample of one class at least, and there is none")
    elif target.ndim != 1:
        raise ValueError(f"{metric} needs one label a sample; for several use mean_average_precision_11_point")
    elif metric == "roc_auc" and (classes != 2 or len(np.unique(target)) != 2):
        raise ValueError(f"roc_auc needs samples of two classes, 0 and 1; there are {classes} classes")


def gain(
    metric: str,
    scores: Float[NDArray, "samples classes"],
    baseline: Float[NDArray, "samples classes"],
    target: Int[NDArray, "samples"] | Int[NDArray, "samples classes"],
    accepted: Bool[NDArray, "samples classes"] | None = None,
) -> Measured:
    """What a metric gains by other scores of the same samples, with a 95 % interval that is paired by sample.

    Args:
        metric: One of ``Metric``.
        scores: Of each class, larger is likelier.
        baseline: The scores that they are compared with.
        target: As of ``measure``.
        accepted: As of ``measure``.

    Raises:
        ValueError: If the metric is unknown or not defined for such labels.
    """
    check_metric(metric)
    check_target(metric, target, scores.shape[1])
    if metric in _RANKINGS:
        after, before = (_ranking_value(metric, one, target) for one in (scores, baseline))
        return _of_samples(lambda counts: after(counts) - before(counts), len(scores), "paired bootstrap")
    right = target if accepted is None else accepted
    items = _items(metric, scores, right) - _items(metric, baseline, right)
    is_per_class = metric == PER_CLASS
    interval = bootstrap_mean_per_class(items, target if is_per_class else np.zeros(len(items), dtype=int))
    return Measured(_mean(metric, items, target), *_resampled(interval, "paired bootstrap"), items)


def value_of(
    metric: str,
    scores: Float[NDArray, "samples classes"],
    target: Int[NDArray, "samples"] | Int[NDArray, "samples classes"],
    accepted: Bool[NDArray, "samples classes"] | None = None,
) -> float:
    """``measure`` without the interval, for choices between many candidates.

    Args:
        metric: One of ``Metric``.
        scores: Of each class, larger is likelier.
        target: Label of each sample, or 0/1 for each class.
        accepted: As of ``measure``.
    """
    check_target(metric, target, scores.shape[1])
    if metric in _RANKINGS:
        return _ranking_value(metric, scores, target)(np.ones(len(scores), dtype=np.int64))
    return _mean(metric, _items(metric, scores, target if accepted is None else accepted), target)


def _items(metric: str, scores: NDArray, right: NDArray) -> Float[NDArray, "samples"]:
    """What each sample gives in a metric that is a mean over samples or classes."""
    guesses = {"top_5_accuracy": (5,), "mean_of_top_1_and_top_5": (1, 5)}.get(metric, (1,))
    items: NDArray = np.mean([top_k_credit(scores, right, min(k, scores.shape[1])) for k in guesses], axis=0)
    return items


def _mean(metric: str, items: Float[NDArray, "samples"], target: Int[NDArray, "samples"]) -> float:
    return mean_per_class(items, target) if metric == PER_CLASS else float(items.mean())


def _interval(metric: str, items: Float[NDArray, "samples"], target: NDArray) -> tuple[Interval, str]:
    """Interval of a mean, and how it was made."""
    if metric == PER_CLASS:
        interval = bootstrap_mean_per_class(items, target)
        return interval, "stratified bootstrap" if interval else _EQUAL_IN_CLASSES
    if metric == "mean_of_top_1_and_top_5":  # No share of hits: a sample may give a half.
        return _resampled(bootstrap_mean_per_class(items, np.zeros(len(items), dtype=int)), "bootstrap")
    return wilson_interval(float(items.sum()), len(items)), "wilson"


def _of_samples(value: Callable[[Int[NDArray, "samples"]], float], n: int, method: str) -> Measured:
    """A metric of the order of all samples, which no single sample has a share of."""
    interval, method = _resampled(bootstrap_interval(value, n), method)
    return Measured(value(np.ones(n, dtype=np.int64)), interval, method, None)


def _ranking_value(metric: str, scores: NDArray, target: NDArray) -> Callable[[Int[NDArray, "samples"]], float]:
    """The metric as a function of how often each sample counts."""
    if metric == "roc_auc":
        return Ranking.of(scores[:, 1] - scores[:, 0], target == 1).roc_auc
    occurring = np.flatnonzero(target.any(axis=0))
    rankings = [Ranking.of(scores[:, label], target[:, label] == 1) for label in occurring]
    return lambda counts: float(np.nanmean([one.average_precision_11_point(counts) for one in rankings]))


def _resampled(interval: Interval, method: str) -> tuple[Interval, str]:
    return interval, method if interval else NO_INTERVAL
