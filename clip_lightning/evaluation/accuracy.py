"""Accuracy sample by sample, for intervals and paired comparisons, and with ties and NaN treated fairly.

The libraries' top-k takes one of several equal scores by its place, so that a collapsed model, whose scores are all
equal, is rated by the order of the classes.
"""

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray as NDArray


def top_k_credit(
    scores: Float[NDArray, "samples classes"], target: Int[NDArray, "samples"], k: int
) -> Float[NDArray, "samples"]:
    """Probability that the right class is among the k best when equal scores are ordered at random.

    Without ties that is 1 or 0; where all scores are equal it is chance, k / classes.

    Args:
        scores: Larger is likelier. A row with a NaN ranks nothing, and gets 0.
        target: Right class of each row.
        k: Number of guesses, 1 to the number of classes.
    """
    own = np.take_along_axis(scores, target[:, None], axis=1)
    better = (scores > own).sum(axis=1)
    equal = (scores == own).sum(axis=1)
    credit = np.clip((k - better) / np.maximum(equal, 1), 0.0, 1.0)
    return np.where(np.isnan(scores).any(axis=1), 0.0, credit)


def mean_per_class(values: Float[NDArray, "samples"], target: Int[NDArray, "samples"]) -> float:
    """Mean over the classes that occur of the mean over each one's samples."""
    return float(np.mean([values[target == label].mean() for label in np.unique(target)]))
