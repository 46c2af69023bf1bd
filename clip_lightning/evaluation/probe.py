"""How well classes can be told apart linearly in features: the paper's probe."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray as NDArray

from clip_lightning.evaluation.draws import held_out
from clip_lightning.evaluation.logistic_regression import Classifier, logistic_regression
from clip_lightning.evaluation.metrics import MULTI_LABEL, Interval, check_metric, check_target, measure, value_of
from clip_lightning.evaluation.regularisation import search, strength

Rows = Float[NDArray, "samples channels"]
Labels = Int[NDArray, "samples *classes"]
SHARE = 0.2
"""Of the training samples that validate where nothing else does."""


class Fit(NamedTuple):
    """One strength of the penalty that was tried.

    Args:
        strength: Lambda; scikit-learn's C is its reciprocal.
        value: The metric on the validation samples.
        classifier: What was fitted.
    """

    strength: float
    value: float
    classifier: Classifier


class Probed(NamedTuple):
    """What a probe gives on the test samples.

    Args:
        value: The metric, 0-1.
        interval: 95 % confidence interval, or None where none is defined.
        method: How the interval was made.
        items: What each test sample gives, or None where the metric is of all together.
        c: scikit-learn's C that was chosen on the validation samples.
        fits: All that were made for the choice, in their order.
        classifier: That of training and validation samples together, which is tested.
    """

    value: float
    interval: Interval
    method: str
    items: Float[NDArray, "samples"] | None
    c: float
    fits: list[Fit]
    classifier: Classifier


def linear_probe(
    train_features: Rows,
    train_labels: Labels,
    val_features: Rows | None,
    val_labels: Labels | None,
    test_features: Rows,
    test_labels: Labels,
    metric: str = "accuracy",
    device: str = "cpu",
    accepted: Bool[NDArray, "samples classes"] | None = None,
) -> Probed:
    """Logistic regression on features, with the penalty that is best in validation.

    The features are taken as they are. The chosen penalty is used for a last fit on training and validation samples.

    Args:
        train_features: A row for each sample.
        train_labels: 0 to the number of classes, or 0 and 1 for each class (11-point mAP).
        val_features: None validates with a fifth of the training samples, drawn class by class.
        val_labels: None where ``val_features`` is.
        test_features: A row for each sample.
        test_labels: As of training.
        metric: One of ``metrics.Metric``, which the penalty is chosen by too.
        device: Where PyTorch fits what is large.
        accepted: Which classes count as right for each test sample; None for its label alone. Training and the choice
            of the penalty know one label a sample.

    Raises:
        ValueError: If a class has no training sample, labels do not fit the metric, or a feature is not finite.

    Source: Radford et al. 2021 (arXiv 2103.00020), section 3.2 and appendix A.3.
    """
    train = np.asarray(train_features), np.asarray(train_labels)
    test = np.asarray(test_features), np.asarray(test_labels)
    if val_features is None or val_labels is None:
        train, val = split(*train)
    else:
        val = np.asarray(val_features), np.asarray(val_labels)
    check_metric(metric)
    for part, (rows, labels) in {"training": train, "validation": val, "test": test}.items():
        _check(part, rows, labels, metric, train[1])
    fits = fit_penalties(*train, *val, metric=metric, device=device)
    best = best_fit(fits)
    rows, labels = (np.concatenate(parts) for parts in zip(train, val, strict=True))
    classifier = logistic_regression(rows, labels, device).fit(1 / best.strength, best.classifier)
    measured = measure(metric, classifier.scores(test[0]), test[1], accepted)
    return Probed(*measured, 1 / best.strength, fits, classifier)


def split(rows: Rows, labels: Labels) -> tuple[tuple[Rows, Labels], tuple[Rows, Labels]]:
    """Training samples as those that train and those that validate, always the same."""
    marked = held_out(labels, SHARE, np.random.default_rng(0))
    return (rows[~marked], labels[~marked]), (rows[marked], labels[marked])


def fit_penalties(
    rows: Rows, labels: Labels, val_rows: Rows, val_labels: Labels, metric: str, device: str
) -> list[Fit]:
    """Fits at the strengths that the search asks for, each from the nearest one that there is."""
    regression = logistic_regression(rows, labels, device)
    fits: dict[int, Fit] = {}

    def value(place: int) -> float:
        nearest = min(fits, key=lambda other: abs(other - place), default=None)
        start = None if nearest is None else fits[nearest].classifier
        classifier = regression.fit(1 / strength(place), start)
        fits[place] = Fit(strength(place), value_of(metric, classifier.scores(val_rows), val_labels), classifier)
        return fits[place].value

    search(value)
    return list(fits.values())


def best_fit(fits: list[Fit]) -> Fit:
    """The best in validation; of equal ones that of the strongest penalty."""
    return max(fits, key=lambda fit: (fit.value, fit.strength))


def _check(part: str, rows: Rows, labels: Labels, metric: str, train_labels: Labels) -> None:
    """Refuses what cannot be fitted or rated, before anything is."""
    several = metric in MULTI_LABEL
    if len(rows) == 0 or len(rows) != len(labels):
        raise ValueError(f"there are {len(rows)} {part} features for {len(labels)} {part} labels; give one for each")
    if not np.isfinite(rows).all():
        raise ValueError(f"the {part} features have values that are not finite; no classifier can be fitted to them")
    classes = train_labels.shape[-1] if several else int(train_labels.max()) + 1
    check_target(metric, labels, classes)
    if part == "training" and (untrained := untrained_classes(labels, classes)):
        raise ValueError(f"the classes {untrained} have no training sample, or no other; leave them out or add some")
    if not several and (unknown := sorted(set(labels.tolist()) - set(range(classes)))):
        raise ValueError(f"the {part} labels {unknown} are none of training, which are 0 to {classes - 1}")


def untrained_classes(labels: Labels, classes: int) -> list[int]:
    """Classes that cannot be learned: without a sample, or where samples have several labels, without any other."""
    if labels.ndim == 1:
        return sorted(set(range(classes)) - set(labels.tolist()))
    share = labels.mean(axis=0)
    return np.flatnonzero((share == 0) | (share == 1)).tolist()
