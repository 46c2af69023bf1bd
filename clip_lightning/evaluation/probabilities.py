"""How well probabilities say how often they are right: calibration, and what a threshold on them is worth.

Where several classes count as right for a sample, they are one event, of the sum of their probabilities.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray as NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp

BINS = 15
# Ten times sharper or flatter than any model of use; at an end of it the fit has found no minimum.
_TEMPERATURES = (0.01, 100.0)


class Reliability(NamedTuple):
    """Samples by the probability of their likeliest class, in bins of equal width from 0 to 1.

    Args:
        sizes: Number of samples in each bin.
        confidence: Mean probability; NaN in an empty bin.
        accuracy: Share of them that are right; NaN in an empty bin.
    """

    sizes: Int[NDArray, "bins"]
    confidence: Float[NDArray, "bins"]
    accuracy: Float[NDArray, "bins"]

    def error(self) -> float:
        """Mean distance of accuracy and confidence over the samples: the expected calibration error.

        Source: Guo et al. 2017 (arXiv 1706.04599), equation 3.
        """
        filled = self.sizes > 0
        gaps = np.abs(self.accuracy - self.confidence)[filled]
        return float(np.average(gaps, weights=self.sizes[filled]))


def reliability(
    confidence: Float[NDArray, "samples"], hits: Float[NDArray, "samples"], bins: int = BINS
) -> Reliability:
    """Sorts samples into bins by their confidence; one at the edge of two bins is in the lower.

    Args:
        confidence: Probabilities, 0-1.
        hits: 1 where the sample is right, 0 where it is wrong, a fraction where it shares a tie.
        bins: Number of bins.
    """
    number = bin_numbers(confidence, bins)
    sizes = np.bincount(number, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(number, values, minlength=bins) / sizes for values in (confidence, hits)]
    return Reliability(sizes, *means)


def bin_numbers(confidence: Float[NDArray, "samples"], bins: int = BINS) -> Int[NDArray, "samples"]:
    """The bin of each sample, from 0 up."""
    number: NDArray = np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    return number


def classwise_calibration_error(
    probabilities: Float[NDArray, "samples classes"], target: Int[NDArray, "samples"], bins: int = BINS
) -> float:
    """Mean over the classes of each one's calibration error, of its probability for all samples.

    Args:
        probabilities: Rows that sum to 1.
        target: Class of each sample.
        bins: Number of bins.

    Source: Kull et al. 2019 (arXiv 1910.12656), section 2.
    """
    classes = range(probabilities.shape[1])
    errors = [reliability(probabilities[:, label], (target == label).astype(float), bins).error() for label in classes]
    return float(np.mean(errors))


def log_probabilities(scores: Float[NDArray, "samples classes"]) -> Float[NDArray, "samples classes"]:
    """Logarithms of probabilities whose ratios are the scores' exponentials."""
    return np.asarray(log_softmax(scores, axis=1))


def negative_log_likelihood(
    scores: Float[NDArray, "samples classes"], right: Bool[NDArray, "samples classes"]
) -> Float[NDArray, "samples"]:
    """Minus the logarithm of the probability of what is right, in nats."""
    return -np.asarray(logsumexp(np.where(right, log_probabilities(scores), -np.inf), axis=1))


def brier_score(
    probabilities: Float[NDArray, "samples classes"], right: Bool[NDArray, "samples classes"]
) -> Float[NDArray, "samples"]:
    """Squared distance of the probabilities to the truth, 0-2.

    Source: Brier 1950, "Verification of forecasts expressed in terms of probability".
    """
    of_right = np.where(right, probabilities, 0).sum(axis=1)
    of_wrong = np.where(right, 0, probabilities)
    return np.asarray((1 - of_right) ** 2 + (of_wrong**2).sum(axis=1))


def fitted_temperature(scores: Float[NDArray, "samples classes"], right: Bool[NDArray, "samples classes"]) -> float:
    """What to divide scores by, so that the negative log-likelihood of these samples is lowest.

    Source: Guo et al. 2017 (arXiv 1706.04599), section 4.2.
    """

    def loss(exponent: float) -> float:
        return float(negative_log_likelihood(scores / np.exp(exponent), right).mean())

    return float(np.exp(minimize_scalar(loss, bounds=np.log(_TEMPERATURES), method="bounded").x))
