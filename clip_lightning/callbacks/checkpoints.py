"""Keeps the last and the best checkpoint in the run folder."""

import math
import os
import shutil
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint


class Checkpoints(Checkpoint):
    """Writes ``checkpoints/last.ckpt`` at the end of each epoch, and ``checkpoints/best.ckpt`` where it is the best.

    A file appears whole or not at all: it is written beside its target and then renamed.

    Args:
        monitor: Metric that decides which checkpoint is best, such as "val/zero_shot/shape_scenes/accuracy".
        mode: Whether the metric is better when it is larger ("max") or smaller ("min").
    """

    def __init__(self, monitor: str = "val/loss", mode: Literal["max", "min"] = "min") -> None:
        self.monitor = monitor
        self.mode = mode
        self.best: float | None = None
        """Value of the metric at the best checkpoint."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves; the best before the last, so that a kill in between only has the epoch done again."""
        folder = Path(trainer.default_root_dir) / "checkpoints"
        # An epoch that did not measure the metric, as with ``every_n_epochs: 2``, cannot be the best one.
        measured = trainer.callback_metrics.get(self.monitor)
        if measured is None or not self._is_better(float(measured)):
            save_atomically(trainer, folder / "last.ckpt")
            return
        self.best = float(measured)
        save_atomically(trainer, folder / "best.ckpt")
        if trainer.is_global_zero:
            copy_atomically(folder / "best.ckpt", folder / "last.ckpt")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Makes sure that the metric was measured.

        Raises:
            ValueError: If nothing has reported it.
        """
        if self.best is None and trainer.global_step > 0:
            known = sorted(name for name in trainer.callback_metrics if not name.startswith("train/"))
            raise ValueError(f"checkpoints.monitor {self.monitor!r} is reported by nothing; there are {known}")

    def _is_better(self, value: float) -> bool:
        """Whether a value beats the best one so far; anything beats none, and NaN."""
        if self.best is None or math.isnan(self.best):
            return True
        return value > self.best if self.mode == "max" else value < self.best

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to know."""
        return {"monitor": self.monitor, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remembers the best value, if it was one of the same metric."""
        if state_dict["monitor"] == self.monitor:
            self.best = state_dict["best"]


def save_atomically(trainer: Trainer, path: Path) -> None:
    """Saves a checkpoint so that the path holds the old file or the new one, whole. All processes call it.

    Args:
        trainer: Whose state to save.
        path: The file; its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    trainer.save_checkpoint(temporary)
    if trainer.is_global_zero:
        replace_durably(temporary, path)


def copy_atomically(source: Path, target: Path) -> None:
    """Copies a file so that the target is the old file or the new one, whole."""
    temporary = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, temporary)
    replace_durably(temporary, target)


def replace_durably(temporary: Path, path: Path) -> None:
    """Renames a file that has been written, after the disk has it."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
