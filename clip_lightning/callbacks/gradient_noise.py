"""The gradient noise scale: the batch from which on a larger one would change the direction of a step but little."""

import math
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from clip_lightning.callbacks.guards import is_logged
from clip_lightning.callbacks.skipping import in_all_processes, norm_of

_MEMORY = 0.9
"""Share of an average that is left after the next step that is logged."""


class GradientNoise(Callback):
    """Logs ``train/gradient_noise_scale``, in pairs, as the projections into the shared space see it.

    Of a linear layer, a sample's own gradient is the product of what came in and of the gradient of what went out, and
    its norm the product of their norms. So one backward pass tells how much the samples' gradients differ, without any
    of them. Let S be their variance, summed over parameters, and G what all data would give. The mean of the samples'
    squared norms is |G|^2 + S, the squared norm of the gradient of a batch of B is |G|^2 + S / B, and the scale is
    S / |G|^2. Both are averaged over the latest steps that were logged.

    In a contrastive loss a sample's gradient is what the loss's derivative by its features, given the others of the
    batch, makes of it: a scale is one at this batch size. Nothing is logged as long as nothing but noise is seen, where
    no projection is trained as one linear layer, and where gradients are scaled (16-mixed).

    Args:
        pairs: Pairs of a step, of all processes and of all batches whose gradients are averaged.

    Source: McCandlish et al. 2018 (arXiv 1812.06162), section 2.2 and appendix A.1; that few layers tell it of all:
        Gray et al. 2024 (arXiv 2411.00999).
    """

    def __init__(self, pairs: int) -> None:
        self.pairs = pairs
        self._averages = torch.zeros(2)  # S and |G|^2; nothing yet
        self._scale: Tensor | None = None
        self._hooks: list[RemovableHandle] = []
        self._squares: list[Tensor] = []
        self._layers: list[nn.Linear] = []

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Finds the projections, and has the averages where the training is."""
        self._averages = self._averages.to(pl_module.device)
        self._forget()
        is_scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        projections = (pl_module.model.image_projection, pl_module.model.text_projection)
        self._layers = [
            layer
            for layer in (() if is_scaled else projections)
            if isinstance(layer, nn.Linear) and layer.bias is None and layer.weight.requires_grad
        ]

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Watches the projections where the step is logged."""
        if not self._hooks and is_logged(trainer):
            self._hooks = [layer.register_forward_hook(self._watch) for layer in self._layers]

    def _watch(self, layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        """Notes what comes in, until the gradient of what goes out is there."""
        if output.requires_grad:
            square = inputs[0].detach().float().square().sum(dim=1)

            def note(gradient: Tensor) -> None:
                self._squares.append(gradient.float().square().sum(dim=1).dot(square))

            output.register_hook(note)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Adds what this step has shown."""
        gradients = [layer.weight.grad for layer in self._layers if layer.weight.grad is not None]
        if self._squares and gradients:
            processes = trainer.world_size
            # Each process has its own samples' gradients, times the number of processes: their mean is the whole.
            of_samples = in_all_processes(torch.stack(self._squares).sum()) / processes**2 * self.pairs
            variance, square = noise_of(of_samples, norm_of(gradients).square().float(), self.pairs)
            seen = torch.stack([variance, square])
            before = torch.where(self._averages == 0, seen, self._averages)
            self._averages = torch.where(seen.isfinite().all(), torch.lerp(seen, before, _MEMORY), self._averages)
            variance, square = self._averages.unbind()
            self._scale = torch.where(square > 0, variance / square, torch.nan)
        self._forget()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Logs the scale if it is known."""
        if self._scale is None:
            return
        # Not by Lightning, which would repeat an earlier value where there is none. The host reads values now anyway.
        value, self._scale = float(self._scale), None
        if math.isfinite(value):
            for logger in trainer.loggers:
                logger.log_metrics({"train/gradient_noise_scale": value}, step=trainer.global_step - 1)

    def _forget(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks, self._squares = [], []

    def state_dict(self) -> dict[str, Any]:
        """The averages."""
        return {"averages": self._averages.tolist()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on with the averages of the checkpoint."""
        self._averages = torch.tensor(state_dict["averages"])


def noise_of(mean_square: Tensor, square: Tensor, pairs: int) -> tuple[Tensor, Tensor]:
    """Variance of the samples' gradients, and the squared norm of their expectation, both without bias.

    Args:
        mean_square: Mean over the batch of the squared norm of a sample's gradient.
        square: Squared norm of the batch's gradient, the mean of its samples'.
        pairs: Samples in the batch, 2 at least.
    """
    variance = (mean_square - square) * pairs / max(1, pairs - 1)
    return variance, square - variance / pairs
