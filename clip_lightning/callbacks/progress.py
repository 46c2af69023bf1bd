"""Says how training goes: a bar on a terminal, lines in a log."""

import sys
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from tqdm import tqdm

from clip_lightning.callbacks.guards import guards_of
from clip_lightning.results import counted


class Progress(Callback):
    """Shows loss, samples per second, temperature and the latest watched metric.

    Args:
        watch: Metric to show beside the loss.
        seconds: Shortest time between two lines where the output is no terminal.
    """

    def __init__(self, watch: str, seconds: float = 10.0) -> None:
        self.watch = watch
        self.seconds = seconds
        self._bar: Any = None
        self._samples = 0
        self._since = self._shown = 0.0
        self._loss: Tensor | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock, and the bar on a terminal."""
        self._since = self._shown = time.monotonic()
        self._samples = 0
        if trainer.is_global_zero and sys.stderr.isatty():
            total = int(trainer.estimated_stepping_batches)
            self._bar = tqdm(total=total, initial=trainer.global_step, unit="step", dynamic_ncols=True)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Counts samples anew, so that evaluations and a slow start do not blur the speed of this epoch."""
        self._since, self._samples = time.monotonic(), 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Updates the bar, or writes a line when it is time."""
        self._samples += len(batch) * trainer.world_size
        # Not what was logged, which may be long ago; and read where it is shown only, since that waits for the device.
        self._loss = outputs["loss"]
        now = time.monotonic()
        if self._bar is not None:
            self._bar.n = trainer.global_step
            if now - self._shown >= 0.2:
                self._shown = now
                self._bar.set_postfix_str(self._describe(trainer))
        elif trainer.is_global_zero and now - self._shown >= self.seconds:
            self._write_line(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the line of an epoch."""
        if trainer.is_global_zero:
            self._write_line(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Closes the bar."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Closes the bar, so that the message stands on a line of its own."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _write_line(self, trainer: Trainer) -> None:
        self._shown = time.monotonic()
        total = int(trainer.estimated_stepping_batches)
        line = (
            f"epoch {trainer.current_epoch + 1:>3}  step {trainer.global_step:>6,}/{total:,}  {self._describe(trainer)}"
        )
        tqdm.write(line, file=sys.stderr)

    def _describe(self, trainer: Trainer) -> str:
        metrics = trainer.callback_metrics
        speed = self._samples / max(1e-9, time.monotonic() - self._since)
        parts = [f"{speed:,.0f} samples/s"]
        if self._loss is not None:
            parts.insert(0, f"loss {self._loss.item() * trainer.accumulate_grad_batches:.3f}")
        if "train/scale" in metrics:
            parts.append(f"temperature {1 / metrics['train/scale']:.3f}")
        if self.watch in metrics:
            parts.append(f"{self.watch} {metrics[self.watch]:.3f}")
        if (guards := guards_of(trainer)) is not None and guards.skipped_steps:
            parts.append(f"{counted(guards.skipped_steps, 'step')} skipped")
        return "  ".join(parts)
