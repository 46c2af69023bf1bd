"""What BatchNorm layers normalise by where several processes share a batch."""

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class BatchStatistics(Callback):
    """Keeps the running statistics of BatchNorm layers equal in all processes, and says what the layers normalise by.

    That is the whole batch with ``trainer.sync_batchnorm``, and each process's part of it otherwise. In the second case
    the running statistics, by which an evaluation normalises, are averaged over processes after each batch.
    """

    def __init__(self) -> None:
        self._own: list[Tensor] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Says what holds, where there are such layers and several processes."""
        norms = [module for module in pl_module.modules() if isinstance(module, _BatchNorm) and module.training]
        if trainer.world_size == 1 or not norms:
            return
        own = [norm for norm in norms if not isinstance(norm, nn.SyncBatchNorm)]
        self._own = [value for norm in own for value in (norm.running_mean, norm.running_var) if value is not None]
        if own:
            _say(
                f"{len(own)} BatchNorm layers normalise by the part of the batch that their process has, 1 of "
                f"{trainer.world_size}; on GPUs, --trainer.sync_batchnorm true has them normalise by all of it"
            )
        else:
            _say(f"{len(norms)} BatchNorm layers normalise by the batch of all {trainer.world_size} processes")

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Averages the running statistics over processes."""
        if self._own:
            flat = torch.cat([value.flatten() for value in self._own])
            dist.all_reduce(flat)
            flat /= trainer.world_size
            means = torch.split(flat, [value.numel() for value in self._own])
            for value, mean in zip(self._own, means, strict=True):
                value.copy_(mean.view_as(value))


@rank_zero_only
def _say(line: str) -> None:
    print(f"statistics  {line}", flush=True)
