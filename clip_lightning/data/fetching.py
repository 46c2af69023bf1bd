"""Reading ahead in worker processes."""

import signal
from collections.abc import Iterable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from clip_lightning.refusal import is_refusal

Item = TypeVar("Item")


def fetch(reader: Dataset[Item], requests: Iterable[Any], num_workers: int) -> Iterator[Item]:
    """What a reader makes of each request, in order.

    Args:
        reader: Makes a whole batch of a request.
        requests: What to read, batch by batch.
        num_workers: Worker processes, each some batches ahead; 0 reads in this process.

    Raises:
        ValueError: What the reader refuses.
    """
    # With its own generator, since a DataLoader draws a seed at each start, and that would shift the model's chance.
    batches: Any = iter(
        DataLoader(
            _Careful(reader),
            sampler=requests,
            batch_size=None,
            num_workers=num_workers,
            collate_fn=_as_it_is,
            # Only from page-locked memory does a batch reach a GPU without holding up the step before it.
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),
            worker_init_fn=_leave_signals_to_the_parent,
        )
    )
    try:
        for item in batches:
            if isinstance(item, _Refusal):
                raise ValueError(item.message)
            yield item
    finally:
        # The traceback of an error would keep the workers, and the end of the process would wait for them.
        if num_workers:
            batches._shutdown_workers()


class _Refusal(NamedTuple):
    """What a reader said, on its way between processes: PyTorch would put a worker's traceback in its place."""

    message: str


class _Careful(Dataset[Any], Generic[Item]):
    """A reader whose refusals are items like any other."""

    def __init__(self, reader: Dataset[Item]) -> None:
        self._reader = reader

    def __getitem__(self, request: Any) -> Item | _Refusal:
        try:
            return self._reader[request]
        except ValueError as error:
            if not is_refusal(error):
                raise
            return _Refusal(str(error))


def _as_it_is(item: Any) -> Any:
    """The reader has made the batch already."""
    return item


def _leave_signals_to_the_parent(worker: int) -> None:
    """A terminal and a scheduler signal all processes; a worker that obeyed would take the last step's data with it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
