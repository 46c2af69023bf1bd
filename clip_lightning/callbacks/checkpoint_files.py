"""How a trainer's checkpoints become files, and which names they get."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch import Trainer
from torch import Tensor

from clip_lightning.averages import with_averages, with_weights
from clip_lightning.checkpoint import read_checkpoint, write_checkpoint
from clip_lightning.files import link_or_copy, part_of, remove, replace


class CheckpointFiles(CheckpointIO):
    """Lightning's way to files, without its detour through memory and another file system.

    Args:
        averages: Averages of the weights by name, which are saved too; empty where there are none.
        kind: Which weights a checkpoint is chosen by, "raw" or "averaged", where there are averages.
        trains: Whether what is read is to be trained further, which begins with the raw weights.
    """

    def __init__(
        self, averages: Callable[[], Mapping[str, Tensor]] = dict, kind: str = "raw", trains: bool = True
    ) -> None:
        self._averages = averages
        self._kind = kind
        self._trains = trains

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Writes a file, whole or not at all."""
        averages = self._averages()
        write_checkpoint(with_averages(checkpoint, averages, self._kind) if averages else checkpoint, path)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Reads a file of this or an earlier format; tensors and plain data only."""
        return with_weights(read_checkpoint(path, map_location), "raw" if self._trains else None, path)

    def remove_checkpoint(self, path: Any) -> None:
        """Removes a file."""
        Path(path).unlink(missing_ok=True)


def save_rotating(trainer: Trainer, folder: Path, names: list[str]) -> None:
    """Saves as ``last.ckpt``, and what was the last until now becomes ``previous.ckpt``. All processes call it.

    Args:
        trainer: Whose state to save.
        folder: Where; it is made.
        names: Further names of the file, such as "best". They come first: a kill in between has the step done again.
    """
    last = folder / "last.ckpt"
    if trainer.is_global_zero:
        remove(part_of(last))  # What a kill has left may be a folder, over which no file is written.
    trainer.save_checkpoint(part_of(last))
    if not trainer.is_global_zero:
        return
    for name in names:
        link_or_copy(part_of(last), folder / f"{name}.ckpt")
    if last.exists():
        replace(last, folder / "previous.ckpt")
    replace(part_of(last), last)
