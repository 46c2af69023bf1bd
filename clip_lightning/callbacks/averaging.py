"""Averages the weights over training, and has the averages measured beside them."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from clip_lightning.averages import BESIDE
from clip_lightning.checkpoint import check_weights


class WeightAverages(Callback):
    """Keeps an exponential moving average of what is trained, measured as ``val_ema/...`` where that is ``val/...``.

    After optimiser step ``t``, counted from 1, the averages become ``d * averages + (1 - d) * weights``, where ``d`` is
    the smaller one of ``decay`` and ``(1 + t) / (10 + t)``: the weights in an early average are a tenth of the training
    so far old, and those that it started from are soon forgotten. The temperature is averaged too, and so are running
    statistics, as of BatchNorm, since they belong to the weights that made them; counts are those of the raw model.
    What is not trained has no average of its own. Averages are in float32 at least.

    Training goes on with the raw weights. Checkpoints hold both.

    Args:
        decay: Share of the averages that a step keeps, between 0 and 1: 0.9999 goes over some 10,000 steps. None for no
            averages.

    Raises:
        ValueError: If it is not between 0 and 1.

    Source: Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging"; the warm-up of the decay
        is that of TensorFlow's ``tf.train.ExponentialMovingAverage(num_updates=t)``.
    """

    def __init__(self, decay: float | None = None) -> None:
        if decay is not None and not 0 < decay < 1:
            raise ValueError(
                f"averaging.decay {decay} is not between 0 and 1; usual are 0.999 to 0.9999, and null is no averaging"
            )
        self.decay = decay
        self.by_name: dict[str, Tensor] = {}
        """The averages while a model is trained, under the names of the weights."""
        self._averages: dict[Tensor, Tensor] = {}
        self._loaded: Mapping[str, Tensor] | None = None
        self._averaged_step = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuses what it cannot average."""
        if stage == "fit":
            self.check_strategy(trainer)

    def check_strategy(self, trainer: Trainer) -> None:
        """Refuses strategies that split weights over processes.

        Raises:
            ValueError: If the trainer has such a one.
        """
        if self.decay is not None and not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
            raise ValueError(
                f"averaging.decay {self.decay} needs whole weights on each process, which "
                f"{type(trainer.strategy).__name__} splits; give --trainer.strategy ddp, or --averaging.decay null"
            )

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keeps the averages of the run that goes on, until its first step.

        Raises:
            ValueError: If there are none, or they are of another model.
        """
        if self.decay is None or trainer.state.fn != TrainerFn.FITTING:
            return
        if BESIDE not in checkpoint:
            raise ValueError(
                f"averaging.decay {self.decay} is given, and {str(trainer.ckpt_path)!r} has no averages to go on with; "
                "go on without averaging, or start a new run from its weights by --model.weights"
            )
        check_weights(pl_module.state_dict(), checkpoint[BESIDE], str(trainer.ckpt_path))
        self._loaded = checkpoint[BESIDE]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begins with the weights as they are, or goes on with the averages of a checkpoint."""
        if self.decay is None:
            return
        self._averaged_step = trainer.global_step
        loaded, self._loaded = self._loaded, None
        for name, tensor in pl_module.state_dict(keep_vars=True).items():
            if tensor not in self._averages and _has_average(tensor):
                begin = tensor.detach() if loaded is None else loaded[name]
                dtype = torch.promote_types(tensor.dtype, torch.float32)
                self._averages[tensor] = begin.to(tensor.device, dtype, copy=True)
            if tensor in self._averages:  # a tied weight has several names
                self.by_name[name] = self._averages[tensor]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Takes the weights of a new optimiser step into the averages."""
        # With accumulated gradients several batches end at one step.
        if self.decay is None or trainer.global_step == self._averaged_step:
            return
        self._averaged_step = trainer.global_step
        update: Any = get_ema_multi_avg_fn(decay_at(self._averaged_step, self.decay))  # type: ignore[no-untyped-call]
        averages = list(self._averages.values())
        update(averages, [tensor.detach().to(ours.dtype) for tensor, ours in self._averages.items()], 0)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Measures the averages on the pairs that the raw weights were just measured on."""
        if self._averages and batch is not None:
            with self.applied(pl_module), trainer.precision_plugin.val_step_context():
                pl_module.validation_step(batch, batch_idx)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Frees the averages: what is measured after training is what a checkpoint holds."""
        self._averages, self.by_name = {}, {}

    @contextmanager
    def applied(self, task: Any) -> Iterator[None]:
        """Meanwhile, a task that is being trained holds the averages, and says so; its gradients stay as they are."""
        raw = [tensor.detach().clone() for tensor in self._averages]
        self._share_statistics()
        _put(self._averages, self._averages.values())
        task.holds = "averaged"
        try:
            yield
        finally:
            _put(self._averages, raw)
            task.holds = "raw"

    def _share_statistics(self) -> None:
        """Has all processes use the running statistics of the first one, which are those that checkpoints hold."""
        if dist.is_available() and dist.is_initialized():
            for tensor, average in self._averages.items():
                if not isinstance(tensor, nn.Parameter):
                    dist.broadcast(average, src=0)


def averages_in(trainer: Trainer) -> list[WeightAverages]:
    """The trainer's averages, if it has any at the moment: one or none."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return [part for part in callbacks if isinstance(part, WeightAverages) and part.by_name]


def decay_at(step: int, decay: float) -> float:
    """Share of the averages that optimiser step ``step`` keeps, counted from 1: less where there were few steps."""
    return min(decay, (1 + step) / (10 + step))


def _has_average(tensor: Tensor) -> bool:
    """Whether training changes a tensor of a model's state by degrees."""
    return tensor.is_floating_point() and (tensor.requires_grad or not isinstance(tensor, nn.Parameter))


@torch.no_grad()
def _put(tensors: Iterable[Tensor], values: Iterable[Tensor]) -> None:
    """Writes values into tensors, which stay where they are: compiled and replicated models know their addresses."""
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)
