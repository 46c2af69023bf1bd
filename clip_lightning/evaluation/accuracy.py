"""Accuracy sample by sample, for intervals and paired comparisons, and with ties and NaN treated fairly.

The libraries' top-k takes one of several equal scores by its place, so that a collapsed model, whose scores are all
equal, is rated by the order of the classes.
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray as NDArray

from clip_lightning.evaluation.places import Places


def top_k_credit(
    scores: Float[NDArray, "samples classes"],
    right: Int[NDArray, "samples"] | Bool[NDArray, "samples classes"],
    k: int,
) -> Float[NDArray, "samples"]:
    """Probability that a right class is among the k best when equal scores are ordered at random.

    Without ties that is 1 or 0; where all scores are equal it is chance, k / classes for one right class.

    Args:
        scores: Larger is likelier. A row with a NaN ranks nothing, and gets 0.
        right: The right class of each row, or for each class whether it counts as right; one of each row at least.
        k: Number of guesses, 1 to the number of classes.
    """
    if right.ndim == 1:
        right = np.arange(scores.shape[1]) == right[:, None]
    # Only the best of the right classes decide, and those that are equal to them.
    own = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
    tied = scores == own
    best = Places((scores > own).sum(axis=1), tied.sum(axis=1), (tied & right).sum(axis=1))
    return np.where(np.isnan(scores).any(axis=1), 0.0, best.credit(k))


def mean_per_class(values: Float[NDArray, "samples"], target: Int[NDArray, "samples"]) -> float:
    """Mean over the classes that occur of the mean over each one's samples."""
    return float(np.mean([values[target == label].mean() for label in np.unique(target)]))
