"""FSDP2 as a strategy of Lightning's trainer, whose checkpoints are those of every other strategy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import ModelParallelStrategy, StrategyRegistry
from torch import Tensor
from torch.optim import Optimizer

from clip_lightning.files import part_of, remove, replace
from clip_lightning.sharding import full, load_full, load_full_state, own, part_name, replicate, state_of

_DIVIDED = ("state_dict", "optimizer_states")
"""Of a checkpoint, what processes have parts of."""


class FullySharded(ModelParallelStrategy):
    """Weights, gradients and optimiser states divided over all processes: ``--trainer.strategy fsdp2``.

    Each process takes its share of the batch, as with ``ddp``, and keeps its share of everything that grows with the
    model. A run may go on with another strategy and another number of processes.

    Args:
        sharded_checkpoints: Whether a checkpoint is a folder to which each process writes what it has, instead of one
            file that the first process writes. Both are read alike.
    """

    def __init__(self, sharded_checkpoints: bool = False) -> None:
        super().__init__()
        self.sharded_checkpoints = sharded_checkpoints

    def setup_environment(self) -> None:
        """Has every process work on its own part of the batch."""
        self._data_parallel_size, self._tensor_parallel_size = self.num_nodes * self.num_processes, 1
        super().setup_environment()
        if self._layer_sync is not None and self.lightning_module is not None:
            # Before the model is divided, since layers are exchanged.
            self._layer_sync.apply(self.lightning_module)

    def setup_optimizers(self, trainer: Trainer) -> None:
        """Makes the optimisers, over divided and undivided parameters."""
        super().setup_optimizers(trainer)
        for optimizer in self.optimizers:
            replicate(optimizer, self.device_mesh["data_parallel"])

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        """A checkpoint is restored when it is with other strategies: the loader is made after, and goes on from it."""
        return False

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Lightning hands over the optimisers' states, as they are in a checkpoint."""
        return True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """What this process saves of the weights; all processes call it."""
        assert self.lightning_module is not None
        taken = {name: self._take(tensor) for name, tensor in self.lightning_module.state_dict().items()}
        return {name: tensor for name, tensor in taken.items() if tensor is not None}

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Loads a checkpoint's weights."""
        assert self.lightning_module is not None
        load_full(self.lightning_module, checkpoint["state_dict"])

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """What this process saves of an optimiser's state; all processes call it."""
        return state_of(optimizer, self._take)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Loads the states of a checkpoint's optimisers."""
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            load_full_state(optimizer, state)

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Writes a file in the first process, or a part in each one."""
        if self.sharded_checkpoints:
            self._save_parts(checkpoint, Path(filepath))
        elif self.is_global_zero:
            self.checkpoint_io.save_checkpoint(checkpoint, filepath)

    def _save_parts(self, checkpoint: dict[str, Any], path: Path) -> None:
        """Writes a folder that appears when all its parts are there."""
        folder = part_of(path)
        if self.is_global_zero:
            remove(folder)
        self.barrier()
        # Beside its tensors a part needs nothing: the rest is the same in all processes.
        content = {key: value for key, value in checkpoint.items() if self.is_global_zero or key in _DIVIDED}
        self.checkpoint_io.save_checkpoint(content, folder / part_name(self.global_rank, self.world_size))
        self.barrier()
        if self.is_global_zero:
            replace(folder, path)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Reads a checkpoint, whole, in every process."""
        return self.checkpoint_io.load_checkpoint(checkpoint_path)

    def _take(self, tensor: Tensor) -> Tensor | None:
        return own(tensor) if self.sharded_checkpoints else full(tensor)


def register_strategy() -> None:
    """Has Lightning know the strategy by its short name."""
    if "fsdp2" not in StrategyRegistry:
        StrategyRegistry.register("fsdp2", FullySharded, description="Fully sharded data parallel (FSDP2)")
