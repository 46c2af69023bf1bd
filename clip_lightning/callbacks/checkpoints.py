"""Keeps the last and the best checkpoint in the run folder."""

from pathlib import Path
from typing import Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class Checkpoints(ModelCheckpoint):
    """Writes ``checkpoints/last.ckpt`` and ``checkpoints/best.ckpt`` at the end of each epoch.

    Args:
        monitor: Metric that decides which checkpoint is best, such as "val/zero_shot/shape_scenes/accuracy".
        mode: Whether the metric is better when it is larger ("max") or smaller ("min").
    """

    CHECKPOINT_NAME_LAST = "last"

    def __init__(self, monitor: str = "val/loss", mode: Literal["max", "min"] = "min") -> None:
        super().__init__(
            filename="best",
            monitor=monitor,
            mode=mode,
            save_top_k=1,
            save_last=True,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Settles on the run folder, which is known only now."""
        self.dirpath = str(Path(trainer.default_root_dir) / "checkpoints")
        super().setup(trainer, pl_module, stage)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves, after making sure that the metric exists.

        Raises:
            ValueError: If nothing reports the metric.
        """
        if self.monitor not in trainer.callback_metrics:
            known = sorted(name for name in trainer.callback_metrics if not name.startswith("train/"))
            raise ValueError(f"checkpoints.monitor {self.monitor!r} is reported by nothing; there are {known}")
        super().on_train_epoch_end(trainer, pl_module)
