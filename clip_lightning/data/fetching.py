"""Reading ahead in worker processes."""

import signal
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

Item = TypeVar("Item")


def fetch(reader: Dataset[Item], requests: Iterable[Any], num_workers: int) -> Iterator[Item]:
    """What a reader makes of each request, in order.

    Args:
        reader: Makes a whole batch of a request.
        requests: What to read, batch by batch.
        num_workers: Worker processes, each some batches ahead; 0 reads in this process.
    """
    # With its own generator, since a DataLoader draws a seed at each start, and that would shift the model's chance.
    yield from DataLoader(
        reader,
        sampler=requests,
        batch_size=None,
        num_workers=num_workers,
        collate_fn=_as_it_is,
        generator=torch.Generator(),
        worker_init_fn=_leave_signals_to_the_parent,
    )


def _as_it_is(item: Any) -> Any:
    """The reader has made the batch already."""
    return item


def _leave_signals_to_the_parent(worker: int) -> None:
    """A terminal and a scheduler signal all processes; a worker that obeyed would take the last step's data with it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
