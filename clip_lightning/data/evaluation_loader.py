"""Batches of image-text pairs for evaluation, each pair once."""

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from clip_lightning.batch import Batch
from clip_lightning.data.base import Source
from clip_lightning.data.fetching import fetch
from clip_lightning.data.order import IntArray
from clip_lightning.data.readers import FixedReader, note_damage
from clip_lightning.data.transforms import Transform, View
from clip_lightning.text import Tokenizer


class EvaluationPairLoader:
    """Every pair exactly once over all processes, in a fixed order, with its first caption.

    All processes have the same number of batches, so that collective operations meet; the last batch is shorter or, if
    what is left over is fewer than the processes, some pairs longer. Damaged samples are left out and counted.

    Args:
        sources: Where the pairs are.
        tokenizer: The model's.
        transform: Makes the square that the image encoder takes, without chance.
        batch_size: Pairs in a batch of one process.
        rank: Number of this process.
        world_size: Number of processes.
        num_workers: Worker processes; 0 reads in this process.
        views: Further versions of each pair, by name: ``Batch.views``.

    Attributes:
        damaged: Number of samples left out by this process in the last iteration, by source and reason.
        first_damaged: Where the first of them is, by source and reason.

    Raises:
        ValueError: If there are fewer pairs than processes.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        tokenizer: Tokenizer,
        transform: Transform,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
        views: Mapping[str, View] = {},
    ) -> None:
        assert 0 <= rank < world_size, (rank, world_size)
        if batch_size < 1:
            raise ValueError(f"batch_size {batch_size} must be 1 at least")
        self._ends = np.cumsum([len(source) for source in sources])
        self._total = int(self._ends[-1])
        if self._total < world_size:
            raise ValueError(f"{self._total} pairs cannot be shared by {world_size} processes; use fewer processes")
        self._global_batch_size = batch_size * world_size
        self._rank = rank
        self._world_size = world_size
        self._num_workers = num_workers
        self._reader = FixedReader(sources, transform, tokenizer, views)
        self._sources = list(sources)
        self.damaged: Counter[str] = Counter()
        self.first_damaged: dict[str, str] = {}
        self._has_warned = False

    def __len__(self) -> int:
        """Batches of each process."""
        full, rest = divmod(self._total, self._global_batch_size)
        return full + (rest >= self._world_size or full == 0)

    def __iter__(self) -> Iterator[Batch]:
        """All batches of this process."""
        self.damaged.clear()
        for number, (batch, damaged) in enumerate(fetch(self._reader, self._places(), self._num_workers), start=1):
            note_damage(damaged, self._sources, self.damaged, self.first_damaged)
            # Before the last batch: a loop that knows the length never asks for what comes after it.
            if number == len(self) and self.damaged and not self._has_warned:
                self._has_warned = True
                warnings.warn(f"{self.damaged.total()} damaged samples are missing: {dict(self.damaged)}", stacklevel=2)
            yield batch

    def _places(self) -> Iterator[IntArray]:
        """Source and index of this process's pairs, batch by batch."""
        for number in range(len(self)):
            start = number * self._global_batch_size
            stop = self._total if number == len(self) - 1 else start + self._global_batch_size
            share = np.array_split(np.arange(start, stop), self._world_size)[self._rank]
            source = np.searchsorted(self._ends, share, side="right")
            yield np.stack([source, share - np.append(0, self._ends)[source]], axis=1)
