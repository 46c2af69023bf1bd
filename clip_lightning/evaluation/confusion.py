"""Which classes are found, and which are taken for others."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray as NDArray

from clip_lightning.stats import wilson_interval

_PAIRS = 20


def per_class(hits: Float[NDArray, "samples"], target: Int[NDArray, "samples"], names: list[str]) -> dict[str, Any]:
    """For each label with images: its name, how many, the share of them that is right, and its 95 % interval.

    Args:
        hits: 1 where a sample is right, 0 where it is wrong, a fraction where it shares a tie.
        target: Label of each sample.
        names: One a label.

    Returns:
        ``{"kind": "per_class", "rows": [...]}``, the worst first.
    """
    rows = []
    for label in np.unique(target):
        own = hits[target == label]
        interval = wilson_interval(float(own.sum()), len(own))
        rows.append({"class": names[label], "n": len(own), "accuracy": float(own.mean()), "interval": interval})
    return {"kind": "per_class", "rows": sorted(rows, key=lambda row: row["accuracy"])}


def most_confused(
    scores: Float[NDArray, "samples labels"],
    right: Bool[NDArray, "samples labels"],
    target: Int[NDArray, "samples"],
    names: list[str],
) -> dict[str, Any]:
    """Pairs of classes of which the one is taken for the other most often; where several are best, none is taken.

    Args:
        scores: Larger is likelier.
        right: Whether each label counts as right for each sample.
        target: Label of each sample.
        names: One a label.

    Returns:
        ``{"kind": "confusions", "pairs": [...]}``: a class, what it is taken for, number of its images, how often.
    """
    best = scores.argmax(axis=1)
    is_one = (scores == scores.max(axis=1, keepdims=True)).sum(axis=1) == 1
    wrong = is_one & ~right[np.arange(len(best)), best]
    pairs, counts = np.unique(np.stack([target, best], axis=1)[wrong], axis=0, return_counts=True)
    sizes = np.bincount(target)
    ordered = [(*pairs[place], counts[place]) for place in np.argsort(-counts, kind="stable")[:_PAIRS]]
    shown = [
        {"class": names[own], "taken_for": names[other], "n": int(sizes[own]), "count": int(count)}
        for own, other, count in ordered
    ]
    return {"kind": "confusions", "pairs": shown}
