"""Logistic regression with scikit-learn's objective, at the minimum, on sets of any size.

The objective is ``|weight|² / 2 + C * sum of the samples' losses``, the bias left out of the penalty. Of one
label each, the loss is a softmax's, or a sigmoid's between two classes; of several labels, a sigmoid's for each class.
"""

import warnings
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray as NDArray

ITERATIONS = 1000
SMALL = 10**7
"""Samples x channels x classes up to which scikit-learn is quick enough."""


class Classifier(NamedTuple):
    """What a fit found.

    Args:
        weight: A row for each class. Of two classes that exclude each other, the rows differ in sign alone.
        bias: Of each class.
        iterations: Of L-BFGS.
        converged: Whether it ended before ``ITERATIONS``, at a minimum.
    """

    weight: Float[NDArray, "classes channels"]
    bias: Float[NDArray, "classes"]
    iterations: int
    converged: bool

    def scores(self, features: Float[NDArray, "samples channels"]) -> Float[NDArray, "samples classes"]:
        """Log-odds, up to a number for each sample where classes exclude each other."""
        scores: NDArray = features @ self.weight.T + self.bias
        return scores


class Regression(Protocol):
    """Samples that are fitted at several strengths of the penalty."""

    def fit(self, c: float, start: Classifier | None = None) -> Classifier:
        """The minimum for scikit-learn's ``C``; a start near it saves iterations and changes nothing else."""


def logistic_regression(
    features: Float[NDArray, "samples channels"], labels: Int[NDArray, "samples *classes"], device: str = "cpu"
) -> Regression:
    """Samples to fit: by scikit-learn where they are few, by PyTorch where they are many.

    Args:
        features: Rows, taken as they are.
        labels: 0 to the number of classes, each at least once, or 0 and 1 for each class, each of them at least once.
        device: Where PyTorch computes.
    """
    classes = labels.max() + 1 if labels.ndim == 1 else labels.shape[1]
    if features.size * classes <= SMALL:
        return _ScikitLearn(features, labels)
    from clip_lightning.evaluation.torch_regression import TorchRegression

    return TorchRegression(features, labels, device)


def both_classes(weight: Float[NDArray, "1 channels"], bias: Float[NDArray, "1"]) -> tuple[NDArray, NDArray]:
    """A sigmoid's row as the two of a softmax of the same odds."""
    return np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2


def one_of_two(weight: Float[NDArray, "2 channels"], bias: Float[NDArray, "2"]) -> tuple[NDArray, NDArray]:
    """The sigmoid's row of ``both_classes``."""
    return weight[1:] - weight[:1], bias[1:] - bias[:1]


class _ScikitLearn:
    """Fits by scikit-learn, class by class where samples have several labels."""

    def __init__(self, features: Float[NDArray, "samples channels"], labels: Int[NDArray, "samples *classes"]) -> None:
        self._features, self._labels = features.astype(np.float64), labels

    def fit(self, c: float, start: Classifier | None = None) -> Classifier:
        """As of ``Regression``."""
        if self._labels.ndim == 1 and self._labels.max() > 1:
            return self._fit(self._labels, c, start)
        if self._labels.ndim == 1:
            first = start and Classifier(*one_of_two(start.weight, start.bias), start.iterations, start.converged)
            found = self._fit(self._labels, c, first)
            return Classifier(*both_classes(*found[:2]), *found[2:])
        parts = []
        for label in range(self._labels.shape[1]):
            row = slice(label, label + 1)
            own = start and start._replace(weight=start.weight[row], bias=start.bias[row])
            parts.append(self._fit(self._labels[:, label], c, own))
        weight, bias = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
        iterations, converged = max(part.iterations for part in parts), all(part.converged for part in parts)
        return Classifier(weight, bias, iterations, converged)

    def _fit(self, labels: Int[NDArray, "samples"], c: float, start: Classifier | None) -> Classifier:
        import torch
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        # scikit-learn before 1.4 bounded the gradient of the sum by 1e-4, and the paper's fits were of that time. Now
        # it bounds that of the mean, and ends so early that the best penalty is another one (pull request 26721).
        tolerance = 1e-4 / len(labels)
        model = LogisticRegression(C=c, max_iter=ITERATIONS, tol=tolerance, warm_start=start is not None)
        if start is not None:
            model.coef_, model.intercept_ = start.weight, start.bias
        # Its libraries have threads of their own, as many as there are CPUs, whatever PyTorch is limited to.
        with threadpool_limits(torch.get_num_threads()), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            model.fit(self._features, labels)
        ended_early = any(issubclass(one.category, ConvergenceWarning) for one in caught)
        return Classifier(model.coef_, model.intercept_, int(np.max(model.n_iter_)), not ended_early)
