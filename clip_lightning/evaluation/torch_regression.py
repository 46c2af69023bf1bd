"""Logistic regression on many samples: L-BFGS over losses and gradients that PyTorch computes, on any device.

The rows are centred, turned into the axes of their covariance, and each axis is scaled by what the curvature of the
objective is about there. That changes nothing of the minimum, but L-BFGS then sees all directions alike, and needs a
part of the iterations. Where the curvature has changed on the way, as it does once the samples are told apart, it goes
on from there with other scales.
"""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy import ndarray as NDArray
from torch import Tensor

from clip_lightning.evaluation.logistic_regression import ITERATIONS, Classifier, both_classes, one_of_two

ROWS = 8192
"""Samples whose logits exist at once."""
GRADIENT = 1e-4
"""Largest entry of the scaled gradient at the end, as a part of the root of the objective. In scaled axes, half the
gradient's square is what the objective is above its minimum, so this bounds a share of the objective."""
FALL = 1e-4
"""Share of the objective by which other scales must lower it to be tried again."""


class TorchRegression:
    """Samples that are fitted at several strengths of the penalty; the axes are found once.

    Args:
        features: Rows, taken as they are.
        labels: As of ``logistic_regression``.
        device: Where losses are computed.
    """

    def __init__(
        self, features: Float[NDArray, "samples channels"], labels: Int[NDArray, "samples *classes"], device: str
    ) -> None:
        rows = torch.from_numpy(features.astype(np.float64)).to(device)
        self._mean = rows.mean(dim=0)
        rows -= self._mean
        variance, self._axes = torch.linalg.eigh(rows.T @ rows / len(rows))
        one = rows.new_ones(len(rows), 1)
        # The bias is the weight of a channel that is always 1.
        self._rows = torch.cat([rows @ self._axes, one], dim=1)
        self._variance = torch.cat([variance.clamp(min=0), one[0]])
        self._number = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
        self._is_binary = labels.ndim == 1 and self._number == 2
        self._is_softmax = labels.ndim == 1 and not self._is_binary
        if self._is_binary:  # One sigmoid tells two classes apart.
            self._number = 1
        target = labels if self._is_softmax else labels.reshape(len(labels), self._number).astype(np.float64)
        self._target = torch.from_numpy(target).to(device)

    def fit(self, c: float, start: Classifier | None = None) -> Classifier:
        """As of ``Regression``."""
        penalty = torch.full_like(self._variance, 1 / (c * len(self._rows)))
        penalty[-1] = 0
        weight = self._turned(start) if start else self._rows.new_zeros(self._number, len(penalty))
        value, iterations, converged, falls = np.inf, 0, True, True
        while converged and falls and iterations < ITERATIONS:
            weight, reached, taken, converged = self._descend(weight, penalty, ITERATIONS - iterations)
            falls, value, iterations = reached < (1 - FALL) * value, reached, iterations + taken
        return Classifier(*self._back(weight), iterations, converged)

    def _descend(
        self, weight: Float[Tensor, "outputs channels"], penalty: Float[Tensor, "channels"], iterations: int
    ) -> tuple[Float[Tensor, "outputs channels"], float, int, bool]:
        """L-BFGS with the scales of where it begins; the weights, their objective, iterations, and whether it ended."""
        from scipy.optimize import minimize

        scale = (self._curvature(weight) * self._variance + penalty).rsqrt()

        def objective(point: Float[NDArray, "numbers"]) -> tuple[float, Float[NDArray, "numbers"]]:
            unscaled = torch.from_numpy(point).to(scale).view_as(weight) * scale
            value, gradient = self._objective(unscaled, penalty)
            return value, (gradient * scale).cpu().numpy().ravel()

        tolerance = GRADIENT * self._objective(weight, penalty)[0] ** 0.5
        options = {"maxiter": iterations, "gtol": tolerance, "ftol": 64 * np.finfo(float).eps, "maxls": 50}
        first = (weight / scale).cpu().numpy().ravel()
        found = minimize(objective, first, jac=True, method="L-BFGS-B", options=options)
        reached = torch.from_numpy(found.x).to(scale).view_as(weight) * scale
        return reached, float(found.fun), int(found.nit), bool(found.success)

    def _curvature(self, weight: Float[Tensor, "outputs channels"]) -> float:
        """Mean second derivative of a sample's loss by a logit: what is left of the classes that it may be of."""
        total = 0.0
        for rows in torch.split(self._rows, ROWS):
            logits = rows @ weight.T
            chance = logits.softmax(dim=1) if self._is_softmax else logits.sigmoid()
            total += float((chance * (1 - chance)).sum())
        # Beyond double precision, which is not reached where anything is penalised.
        return max(total / (len(self._rows) * self._number), np.finfo(float).eps)

    def _objective(
        self, weight: Float[Tensor, "outputs channels"], penalty: Float[Tensor, "channels"]
    ) -> tuple[float, Float[Tensor, "outputs channels"]]:
        """Mean loss and penalty, and their gradient."""
        weight = weight.detach().requires_grad_()
        value, gradient = 0.5 * float((penalty * weight.detach() ** 2).sum()), penalty * weight.detach()
        for rows, target in zip(torch.split(self._rows, ROWS), torch.split(self._target, ROWS), strict=True):
            loss = self._loss(rows @ weight.T, target) / len(self._rows)
            value += loss.item()
            gradient += torch.autograd.grad(loss, weight)[0]
        return value, gradient

    def _loss(self, logits: Float[Tensor, "rows outputs"], target: Tensor) -> Float[Tensor, ""]:
        if self._is_softmax:
            return F.cross_entropy(logits, target, reduction="sum")
        return F.binary_cross_entropy_with_logits(logits, target, reduction="sum")

    def _turned(self, start: Classifier) -> Float[Tensor, "outputs channels"]:
        """Weights in the axes, and the bias that goes with centred rows."""
        pair = one_of_two(start.weight, start.bias) if self._is_binary else (start.weight, start.bias)
        weight, bias = (torch.from_numpy(part).to(self._rows) for part in pair)
        return torch.cat([weight @ self._axes, (bias + weight @ self._mean)[:, None]], dim=1)

    def _back(self, turned: Float[Tensor, "outputs channels"]) -> tuple[NDArray, NDArray]:
        """The reverse of ``_turned``."""
        weight = turned[:, :-1] @ self._axes.T
        pair = weight.cpu().numpy(), (turned[:, -1] - weight @ self._mean).cpu().numpy()
        return both_classes(*pair) if self._is_binary else pair
