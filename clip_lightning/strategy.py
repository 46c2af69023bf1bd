"""FSDP2 as a strategy of Lightning's trainer, whose checkpoints are those of every other strategy."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import ModelParallelStrategy, StrategyRegistry
from lightning.pytorch.trainer.states import TrainerFn
from torch.optim import Optimizer

from clip_lightning.sharding import full, full_state, load_full, load_full_state, replicate


class FullySharded(ModelParallelStrategy):
    """Weights, gradients and optimiser states divided over all processes: ``--trainer.strategy fsdp2``.

    Each process takes its share of the batch, as with ``ddp``, and keeps its share of everything that grows with the
    model. A checkpoint is one file, in which everything is whole, so a run may go on with another strategy and another
    number of processes.
    """

    def __init__(self) -> None:
        super().__init__(save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """Has every process work on its own part of the batch."""
        self._data_parallel_size, self._tensor_parallel_size = self.num_nodes * self.num_processes, 1
        super().setup_environment()
        if self._layer_sync is not None:
            # Before the model is divided, since layers are exchanged.
            self._layer_sync.apply(self.lightning_module)

    def setup_optimizers(self, trainer: Trainer) -> None:
        """Makes the optimisers, over divided and undivided parameters."""
        super().setup_optimizers(trainer)
        for optimizer in self.optimizers:
            replicate(optimizer, self.device_mesh["data_parallel"])

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Lightning hands over the optimisers' states, as they are in a checkpoint."""
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """All weights in one piece; all processes call it."""
        assert self.lightning_module is not None
        return {name: full(tensor) for name, tensor in self.lightning_module.state_dict().items()}

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Loads a checkpoint's weights."""
        assert self.lightning_module is not None
        load_full(self.lightning_module, checkpoint["state_dict"])

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """An optimiser's state in one piece; all processes call it."""
        return full_state(optimizer)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Loads the states of a checkpoint's optimisers."""
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            load_full_state(optimizer, state)

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Writes a file, in the first process."""
        if self.is_global_zero:
            self.checkpoint_io.save_checkpoint(checkpoint, filepath)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Reads a file, in every process."""
        return self.checkpoint_io.load_checkpoint(checkpoint_path)


StrategyRegistry.register("fsdp2", FullySharded, description="Fully sharded data parallel, by PyTorch's FSDP2")
