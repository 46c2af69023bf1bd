"""Training steps that are taken to see what they cost, without a run."""

import gc
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil
import torch

from clip_lightning.batch import Batch
from clip_lightning.objectives import encode_in_micro_batches

_SAMPLE_SECONDS = 0.002


@dataclass(frozen=True)
class Trial:
    """What a step has cost.

    Args:
        size: Pairs that were encoded at once.
        memory: Bytes that it took at most beyond weights, gradients and moments.
        pairs_per_second: Its speed.
    """

    size: int
    memory: int
    pairs_per_second: float


class Trials:
    """Takes steps like those of ``fit``: the configured model, objective, optimiser and precision, on one device.

    Args:
        cli: What was built from the configuration. Its model learns a little by the trials.
        batch: Pairs to take them on.

    Attributes:
        device: Where the steps are taken.
        available: Bytes that a step may take, beyond weights, gradients and moments.
    """

    def __init__(self, cli: Any, batch: Batch) -> None:
        self.device: torch.device = cli.trainer.strategy.root_device
        self._precision = cli.trainer.precision_plugin
        self._task = self._precision.convert_module(cli.model.to(self.device))
        self._batch = cli.model.transfer_batch_to_device(self._precision.convert_input(batch), self.device, 0)
        self._optimizer = self._task.make_optimizer(fused=True)
        self._step(self._batch.split(2)[0], 2)  # Gradients and moments are there from now on.
        self._before = _memory(self.device)
        self.available = _available(self.device)

    def take(self, pairs: int, size: int) -> Trial:
        """Takes a step for its memory and another for its time.

        Args:
            pairs: Pairs of the step, 2 at least.
            size: How many of them are encoded at once.

        Raises:
            RuntimeError: If memory does not suffice.
        """
        batch = self._batch.split(pairs)[0]
        with _watched(self.device) as peak:
            self._step(batch, size)
        started = time.perf_counter()
        self._step(batch, size)
        seconds = time.perf_counter() - started
        return Trial(size, max(0, peak[0] - self._before), len(batch) / seconds)

    def _step(self, batch: Batch, size: int) -> None:
        self._optimizer.zero_grad()
        with self._precision.forward_context():
            encoded = encode_in_micro_batches(self._task.objective, self._task.model, batch, size)
            loss = self._task.objective.reduce(self._task.model, encoded)["loss"]
        loss.backward()
        self._optimizer.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _memory(device: torch.device) -> int:
    """Bytes of tensors on a GPU, or of this process."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return int(psutil.Process().memory_info().rss)


def _available(device: torch.device) -> int:
    """Bytes that can be had on a GPU, or on this machine without taking any from other processes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - _memory(device)
    return int(psutil.virtual_memory().available)


@contextmanager
def _watched(device: torch.device) -> Iterator[list[int]]:
    """Meanwhile, memory is watched; on the CPU every few milliseconds, since nobody counts the bytes of tensors.

    Yields:
        A list of one number: the most bytes that there were, once it is over.
    """
    peak = [0]
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()  # What an earlier step has left in pieces.
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        peak[0] = torch.cuda.max_memory_allocated(device)
        return
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(_SAMPLE_SECONDS):
            peak[0] = max(peak[0], _memory(device))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        is_over.set()
        watcher.join()
