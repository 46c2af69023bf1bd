"""Two models on the same samples."""

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray as NDArray

from clip_lightning.stats.intervals import bootstrap_mean_per_class


def paired_bootstrap(
    values: Float[NDArray, "samples"], others: Float[NDArray, "samples"], classes: Int[NDArray, "samples"] | None = None
) -> tuple[float, float] | None:
    """95 % percentile bootstrap interval of the mean of ``values`` less that of ``others``, on the same samples.

    Args:
        values: What one model gives for each sample.
        others: What another one gives for the same samples.
        classes: Class of each sample, where means of classes are averaged; None for the mean over all.

    Returns:
        Lower and upper end; None where the samples show no spread of the difference.

    Raises:
        ValueError: If the samples are not the same number.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    differences = _differences(values, others)
    return bootstrap_mean_per_class(differences, np.zeros(len(values), dtype=int) if classes is None else classes)


def mcnemar(values: Float[NDArray, "samples"], others: Float[NDArray, "samples"]) -> float:
    """Two-sided exact p that two equally good models differ on so many samples in one direction.

    Only samples on which one model is better count. Where hits are shared between ties, better is the larger share.

    Args:
        values: What one model gives for each sample, such as 1 for a hit and 0 for none.
        others: What another one gives for the same samples.

    Raises:
        ValueError: If the samples are not the same number.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
        Psychometrika 1947; Edwards, "Note on the correction for continuity", Psychometrika 1948.
    """
    from scipy.stats import binomtest

    differences = _differences(values, others)
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    return float(binomtest(better, better + worse).pvalue) if better + worse else 1.0


def _differences(values: Float[NDArray, "samples"], others: Float[NDArray, "samples"]) -> Float[NDArray, "samples"]:
    """Sample by sample."""
    if len(values) != len(others):
        raise ValueError(f"{len(values)} and {len(others)} samples make no pairs; measure both models on the same ones")
    differences: NDArray = np.subtract(values, others)
    return differences
