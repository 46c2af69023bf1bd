"""The gradient noise scale: the batch from which on a larger one would change the direction of a step but little."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from clip_lightning.callbacks.guards import is_logged
from clip_lightning.callbacks.skipping import norm_of, sum_of


class GradientNoise(Callback):
    """Logs ``train/gradient_noise_scale`` for optimisers that keep Adam's moments; for others there is none.

    It costs two norms over the moments at the steps that are logged, and no further gradient.

    Args:
        pairs: Pairs of a step, of all processes and of all batches whose gradients are averaged.
    """

    def __init__(self, pairs: int) -> None:
        self.pairs = pairs

    @torch.no_grad()
    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Logs what the moments tell, which are those of the step before."""
        if is_logged(trainer) and (found := noise_scale(optimizer, self.pairs)) is not None:
            pl_module.log("train/gradient_noise_scale", found)


def noise_scale(optimizer: Optimizer, pairs: int) -> Float[Tensor, ""] | None:
    """Estimates the gradient noise scale from Adam's moments.

    Let G be the gradient that all data would give, and S the sum over parameters of a batch's variance about it. Then
    the second moments, averages of squares, sum up to |G|^2 + S. The square of the first moment, an average over
    fewer steps, has of S only the part r that its weights leave, the sum of their squares: |G|^2 + r S. Both equations
    together give |G|^2 and S, and the scale is B S / |G|^2 for a batch of B.

    It is a mean over the steps that the moments remember, some tens, and as good as the gradient is the same over
    these. Clipped gradients make it smaller than it is. A contrastive loss has no gradient of a single pair; what is
    told is how the noise of batches of this size compares with what they agree on.

    Args:
        optimizer: Adam, AdamW, or another one with ``exp_avg`` and ``exp_avg_sq``.
        pairs: Size of the batch.

    Returns:
        Pairs, on the device; NaN where nothing but noise is seen. None before the second step, and for optimisers
        without these moments.

    Source: McCandlish et al. 2018 (arXiv 1812.06162), section 2.2; their appendix A.1 has other estimators.
    """
    agreed, noise = [], []
    for group in optimizer.param_groups:
        states = [state for one in group["params"] if "exp_avg_sq" in (state := optimizer.state.get(one, {}))]
        if not states or "betas" not in group:
            continue
        steps = torch.as_tensor(states[0].get("step", group.get("steps", 0)), dtype=torch.float32)
        first, second = _moments(states, group["betas"], steps)
        beta = group["betas"][0]
        kept = (1 - beta) / (1 + beta) * (1 + beta**steps) / (1 - beta**steps)
        noise.append((second - first) / (1 - kept))
        agreed.append(second - noise[-1])
    if not noise:
        return None
    variance, square = torch.stack(noise).sum(), torch.stack(agreed).sum()
    return torch.where((square > 0) & (variance > 0), pairs * variance / square, torch.nan)


def _moments(states: Sequence[dict[str, Any]], betas: tuple[float, float], steps: Tensor) -> tuple[Tensor, Tensor]:
    """Square of the first moment's norm, and sum of the second moments, both as if nothing before the first step."""
    first = norm_of([state["exp_avg"] for state in states]).square()
    second = sum_of([state["exp_avg_sq"] for state in states])
    return first / (1 - betas[0] ** steps) ** 2, second / (1 - betas[1] ** steps)
