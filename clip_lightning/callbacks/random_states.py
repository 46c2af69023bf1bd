"""Keeps the random number generators in checkpoints, so that a continued run draws what it would have drawn."""

import random
import warnings
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer

State = dict[str, Any]


class RandomStates(Callback):
    """Saves the states of Python's, NumPy's and PyTorch's generators of every process, and restores them.

    They are restored right before the first batch of a continued run, since whatever is set up before may draw.
    """

    def __init__(self) -> None:
        self._loaded: list[State] | None = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Restores this process's generators, once."""
        states, self._loaded = self._loaded, None
        if states is None:
            return
        if len(states) != trainer.world_size:
            warnings.warn(
                f"the checkpoint has the random states of {len(states)} processes, and there are {trainer.world_size}: "
                "what the model draws, as for dropout, is not what it would have drawn",
                stacklevel=2,
            )
        if trainer.global_rank < len(states):
            restore_random_state(states[trainer.global_rank])

    def state_dict(self) -> dict[str, Any]:
        """The states of all processes, in order of rank; all processes call it."""
        # A run that is saved before it has restored them, as at the end of an epoch, still goes on from these.
        mine = random_state()
        if not (dist.is_available() and dist.is_initialized()):
            return {"processes": self._loaded or [mine]}
        states: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(states, mine)
        return {"processes": self._loaded or states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keeps the states until the first batch."""
        self._loaded = state_dict["processes"]


def random_state() -> State:
    """The states of this process's generators, as tensors and plain data."""
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def restore_random_state(state: State) -> None:
    """Sets this process's generators, that of its GPU included, to what ``random_state`` returned."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
