"""Says at the end of a run which samples could not be used."""

import sys
from collections import Counter
from typing import Any

import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from tqdm import tqdm

_KEY = "damaged_samples"


class Damage(Callback):
    """Counts damaged samples by source and reason, over all processes and all parts of a continued run.

    At the end of training they are logged as ``data/damaged/<train or val>/<source>: <reason>`` and told of once: in
    training each time that one was replaced, in validation how many are left out, and where the first one is.
    Evaluators count their own.
    """

    def __init__(self) -> None:
        self._before: Counter[str] = Counter()
        self._first_before: dict[str, str] = {}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs and tells."""
        replaced = self._replaced(trainer)
        left_out = _over_processes(_damaged(trainer.val_dataloaders))
        if not trainer.is_global_zero:
            return
        for stage, counts, fate, firsts in (
            ("train", replaced, "replaced", self._first_replaced(trainer)),
            ("val", left_out, "left out", _first_damaged(trainer.val_dataloaders)),
        ):
            for reason, number in sorted(counts.items()):
                for logger in trainer.loggers:
                    logger.log_metrics({f"data/damaged/{stage}/{reason}": number}, step=trainer.global_step)
                first = f"; the first is {firsts[reason]}" if reason in firsts else ""
                tqdm.write(f"damaged     {stage}: {fate} {number:,} times, {reason}{first}", file=sys.stderr)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Saves what was replaced so far; all processes call it."""
        checkpoint[_KEY] = {"counts": dict(self._replaced(trainer)), "first": self._first_replaced(trainer)}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Goes on with the counts of the checkpoint."""
        saved = checkpoint.get(_KEY, {"counts": {}, "first": {}})
        self._before, self._first_before = Counter(saved["counts"]), saved["first"]

    def _replaced(self, trainer: Trainer) -> Counter[str]:
        return self._before + _over_processes(_damaged(trainer.train_dataloader))

    def _first_replaced(self, trainer: Trainer) -> dict[str, str]:
        return {**_first_damaged(trainer.train_dataloader), **self._first_before}


def _damaged(loader: Any) -> Counter[str]:
    """What a loader of ours has counted; nothing of any other."""
    return Counter(getattr(loader, "damaged", {}))


def _first_damaged(loader: Any) -> dict[str, str]:
    """Where the first sample of each reason is, as far as this process has met them."""
    return dict(getattr(loader, "first_damaged", {}))


def _over_processes(counts: Counter[str]) -> Counter[str]:
    """The sum over all processes, on each of them."""
    if not (dist.is_available() and dist.is_initialized()):
        return counts
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, counts)
    return sum(gathered, Counter())
