"""Leaves out the steps whose loss or gradients are not finite, and ends a run that makes no others."""

import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from clip_lightning.callbacks.late_reading import LateReading
from clip_lightning.callbacks.skipped_samples import FILE, write_samples
from clip_lightning.callbacks.skipping import RunningStatistics, in_any_process, norm_of, part_here, skip_where

LAST_GOOD = "last_good.ckpt"
"""Among the checkpoints, the weights of a run that too many skipped steps have ended."""


class TrainingFailed(Exception):  # noqa: N818 (it is for the user, like TrainingStopped)
    """The training cannot go on; its message says why, and what to change."""


class Guards(Callback):
    """Leaves out every optimiser step whose loss or gradients are not finite, in all processes alike.

    Weights, the optimiser's moments and its count of steps, and the running statistics of BatchNorm stay as they were,
    bit by bit; the schedule of the learning rate and the order of the samples go on. With fused Adam, AdamW and Adagrad
    all of that happens on the device, and nothing waits for it. Steps left out are logged as ``train/skipped_steps``,
    and told of at the end.

    Args:
        max_skipped_in_a_row: After so many steps in a row that were left out, the run ends: the samples of these steps
            are listed in ``skipped_samples.json`` in the run folder, and the weights that the last good step left are
            written to ``checkpoints/last_good.ckpt``.

    Raises:
        ValueError: If it is below 1.
    """

    def __init__(self, max_skipped_in_a_row: int = 10) -> None:
        if max_skipped_in_a_row < 1:
            raise ValueError(f"guards.max_skipped_in_a_row {max_skipped_in_a_row} must be 1 at least")
        self.max_skipped_in_a_row = max_skipped_in_a_row
        self._counts = torch.zeros(2, dtype=torch.int64)  # all so far, and those in a row
        self._loss: Tensor | None = None
        self._stepped = 0
        self._begin()

    def _begin(self) -> None:
        self._keys: list[Tensor] = []
        self._latest: deque[tuple[int, list[Tensor]]] = deque(maxlen=self.max_skipped_in_a_row)
        self._reading = LateReading()

    @property
    def skipped_steps(self) -> int:
        """Steps left out so far, of all parts of a continued run; reading it waits for the device."""
        return int(self._counts[0])

    @property
    def is_skipping(self) -> bool:
        """Whether the last step was left out; reading it waits for the device."""
        return int(self._counts[1]) > 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Has the counts where the training is."""
        self._counts = self._counts.to(pl_module.device)
        self._statistics = RunningStatistics(pl_module)
        self._parts = trained_parts(pl_module)
        self._stepped = trainer.global_step
        self._loss = None
        self._begin()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Keeps what the forward passes up to the next step may spoil."""
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._statistics.keep()

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Adds a batch's loss to those of the same step."""
        self._loss = loss.detach() if self._loss is None else self._loss + loss.detach()

    @torch.no_grad()
    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Looks at loss and gradients, and leaves out the step on the device if one of them is not finite."""
        norms = gradient_norms(self._parts)
        total = torch.stack([*(norm.to(self._counts.device) for norm in norms.values())]).sum()
        if self._loss is not None:
            total = total + self._loss.float()
        self._loss = None
        found = in_any_process((~torch.isfinite(total)).float())
        skip_where(found, optimizer, getattr(trainer.precision_plugin, "scaler", None))
        self._statistics.restore_where(found)
        skipped = found.to(torch.int64)
        self._counts = torch.stack([self._counts[0] + skipped, (self._counts[1] + 1) * skipped])
        if is_logged(trainer):
            scalars = {f"train/{name}_gradient_norm": norm for name, norm in norms.items()}
            pl_module.log_dict({**scalars, "train/skipped_steps": self._counts[0].float()})

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Notes the samples of a step, and ends the run where too many were left out.

        Raises:
            TrainingFailed: With what to change.
        """
        self._keys.append(batch.key)
        if trainer.global_step == self._stepped:  # more batches are accumulated
            return
        self._stepped = trainer.global_step
        self._latest.append((self._stepped, self._keys))
        self._keys = []
        if self._reading.exchange(self._counts[1]) >= self.max_skipped_in_a_row:
            self._fail(trainer)

    def _fail(self, trainer: Trainer) -> None:
        folder = Path(trainer.default_root_dir)
        write_samples(folder / FILE, self._latest, getattr(trainer.train_dataloader, "sources", []))
        # Skipped steps have changed nothing, so they are what the last good step left.
        trainer.save_checkpoint(folder / "checkpoints" / LAST_GOOD, weights_only=True)
        raise TrainingFailed(
            f"the last {int(self._counts[1])} steps up to step {self._stepped:,} were skipped: their loss or gradients "
            f"are not finite. Their samples are listed in {folder / FILE}, and the weights from before them are in "
            f"{folder / 'checkpoints' / LAST_GOOD}, for model.weights. If the samples are in order, the weights have "
            "grown beyond the numbers' range: begin again with a lower model.optimizer.init_args.lr, a longer warm-up, "
            "trainer.gradient_clip_val 1.0, or trainer.precision 32-true or bf16-mixed where it is 16"
        )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tells of the steps that were left out."""
        if (skipped := self.skipped_steps) and trainer.is_global_zero:
            tqdm.write(
                f"skipped     {skipped:,} of {trainer.global_step:,} steps, whose loss or gradients were not finite",
                file=sys.stderr,
            )

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Refuses to write weights that are not finite; the file that was written before them stays.

        Raises:
            TrainingFailed: With what to change.
        """
        flags = [torch.isfinite(part_here(value)).all() for value in (*pl_module.parameters(), *pl_module.buffers())]
        if bool(in_any_process((~torch.stack(flags).all()).float())):
            raise TrainingFailed(
                f"weights are not finite at step {trainer.global_step:,}, and no checkpoint is written of them; those "
                "written before are intact. Begin again with a lower model.optimizer.init_args.lr or a longer warm-up"
            )

    def state_dict(self) -> dict[str, Any]:
        """The counts."""
        return {"skipped_steps": int(self._counts[0]), "in_a_row": int(self._counts[1])}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on with the counts of the checkpoint."""
        self._counts = torch.tensor([state_dict["skipped_steps"], state_dict["in_a_row"]])


def trained_parts(module: LightningModule) -> dict[str, list[nn.Parameter]]:
    """What is trained, by "image" and "text" for the encoders, and "other" for projections, temperature and heads.

    Args:
        module: The task, whose ``model`` has the towers.

    Returns:
        Parameters by part; without a part of which nothing is trained.
    """
    parts: dict[str, list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            part = next((tower for tower in ("image", "text") if name.startswith(f"model.{tower}_encoder.")), "other")
            parts.setdefault(part, []).append(parameter)
    return parts


def gradient_norms(parts: Mapping[str, Sequence[nn.Parameter]]) -> dict[str, Tensor]:
    """Norm of each part's gradients, a float32 scalar; 0 where there are none."""
    return {
        part: norm_of([parameter.grad for parameter in parameters if parameter.grad is not None])
        for part, parameters in parts.items()
    }


def is_logged(trainer: Any) -> bool:
    """Whether the trackers take the values of the step that is under way."""
    every, step = int(trainer.log_every_n_steps), int(trainer.global_step)
    return every > 0 and (step == 0 or (step + 1) % every == 0)


def guards_of(trainer: Any) -> Guards | None:
    """The trainer's guards, if it has any."""
    return next((part for part in trainer.callbacks if isinstance(part, Guards)), None)
