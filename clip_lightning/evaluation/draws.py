"""Samples drawn class by class: some for training, or a share for validation."""

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray as NDArray


def drawn_per_class(labels: Int[NDArray, "samples"], number: int, rng: np.random.Generator) -> Int[NDArray, "drawn"]:
    """Places of up to so many samples of each class, drawn without putting back, in ascending order."""
    shuffled = rng.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    sizes = np.unique(labels, return_counts=True)[1]
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(by_class[rank < number])


def held_out(
    labels: Int[NDArray, "samples *classes"], share: float, rng: np.random.Generator
) -> Bool[NDArray, "samples"]:
    """Marks a share of each class, rounded down; of samples with several labels, of all samples.

    Args:
        labels: Label of each sample, or 0 and 1 for each class.
        share: Of the samples, 0-1.
        rng: Of the draw.
    """
    groups = labels if labels.ndim == 1 else np.zeros(len(labels), dtype=int)
    marked = np.zeros(len(labels), dtype=bool)
    for group in np.unique(groups):
        own = np.flatnonzero(groups == group)
        marked[rng.permutation(own)[: int(share * len(own))]] = True
    return marked
