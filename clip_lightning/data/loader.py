"""Batches of image-text pairs for training, resumable with the next sample."""

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from clip_lightning.batch import Batch
from clip_lightning.data.base import Source
from clip_lightning.data.fetching import fetch
from clip_lightning.data.order import IntArray, Order
from clip_lightning.data.readers import VisitReader, note_damage
from clip_lightning.data.transforms import Transform, View
from clip_lightning.text import Tokenizer


class PairLoader:
    """Endless shuffled training batches, an epoch with each iteration.

    Its state counts samples of all processes that were handed out, so a run goes on with exactly the next sample on any
    number of workers and processes. An iteration that was left early is gone on with by the next; samples of an epoch
    that do not fill a batch of all processes are left out. A damaged sample is replaced by another of its source.

    Args:
        sources: Where the pairs are.
        tokenizer: The model's.
        transform: Makes the square that the image encoder takes.
        batch_size: Pairs in a batch of one process.
        weights: For each source, its share of the samples, of any sum; by default its size.
        samples_per_epoch: Samples in an epoch over all processes; by default those of all sources together.
        seed: Of the order, the captions and the crops.
        window_blocks: Blocks (shards) that are shuffled together.
        rank: Number of this process.
        world_size: Number of processes.
        num_workers: Worker processes; 0 reads in this process.
        views: Further versions of each pair, by name: ``Batch.views``.

    Attributes:
        sources: Where the pairs are, by the first number of a sample's key.
        damaged: Number of damaged samples met so far by this process, by source and reason.
        first_damaged: Where the first of them is, by source and reason.

    Raises:
        ValueError: If a batch of all processes is larger than the data or the epoch, or a weight or size makes no
            sense.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        tokenizer: Tokenizer,
        transform: Transform,
        batch_size: int,
        weights: Sequence[float] | None = None,
        samples_per_epoch: int | None = None,
        seed: int = 0,
        window_blocks: int = 32,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
        views: Mapping[str, View] = {},
    ) -> None:
        assert 0 <= rank < world_size, (rank, world_size)
        blocks = [list(source.block_sizes) for source in sources]
        self._order = Order(blocks, weights, samples_per_epoch, seed, window_blocks)
        self._reader = VisitReader(sources, transform, tokenizer, views)
        self._batch_size = batch_size
        self._global_batch_size = batch_size * world_size
        self._rank = rank
        self._num_workers = num_workers
        self._samples_per_epoch = self._order.samples_per_epoch
        self._check_batch_size(sum(map(sum, blocks)))
        # What a state is only valid with.
        self._identity = {
            "sources": [source.fingerprint for source in sources],
            "weights": None if weights is None else [float(weight) for weight in weights],
            "samples_per_epoch": self._samples_per_epoch,
            "seed": seed,
            "window_blocks": window_blocks,
        }
        self._epoch = self._samples = self._batches = 0
        self.sources = list(sources)
        self.damaged: Counter[str] = Counter()
        self.first_damaged: dict[str, str] = {}
        self._has_warned = False

    def _check_batch_size(self, num_samples: int) -> None:
        if self._batch_size < 1:
            raise ValueError(f"batch_size {self._batch_size} must be 1 at least")
        available = min(num_samples, self._samples_per_epoch)
        if self._global_batch_size > available:
            what = "the data, which hold" if available == num_samples else "samples_per_epoch, which is"
            raise ValueError(
                f"a batch of {self._global_batch_size} samples (over all processes) is larger than {what} {available}; "
                "lower batch_size"
            )

    @property
    def epoch(self) -> int:
        """The epoch of the last batch, from 0."""
        return self._epoch

    def __len__(self) -> int:
        """Batches of this epoch with those handed out before, or of the next if this one has ended."""
        # Those handed out are counted, not computed, since the batch size may have changed in mid-epoch.
        if self._epoch_has_ended():
            return self._samples_per_epoch // self._global_batch_size
        return self._batches + (self._samples_per_epoch - self._samples) // self._global_batch_size

    def __iter__(self) -> Iterator[Batch]:
        """The rest of this epoch, or the next epoch if this one has ended."""
        # Here and not behind the last batch: a loop that knows the length never asks for what comes after it.
        if self._epoch_has_ended():
            self._epoch += 1
            self._samples = self._batches = 0
        for batch, damaged in fetch(self._reader, self._visits(), self._num_workers):
            note_damage(damaged, self.sources, self.damaged, self.first_damaged)
            self._samples += self._global_batch_size
            self._batches += 1
            if self._epoch_has_ended():
                self._warn_of_damage()
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Where the run is, as plain data, the same in all processes."""
        return {
            "epoch": self._epoch,
            "samples": self._samples,
            "batches": self._batches,
            "identity": dict(self._identity),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where a run was, at any number of workers and processes.

        Raises:
            ValueError: If the data or the order are others than in that run.
        """
        for key, value in self._identity.items():
            if (saved := state["identity"][key]) != value:
                raise ValueError(
                    f"the checkpoint was made with {key} {saved}, but now {key} is {value}, where its place in the "
                    "data means nothing; set it back, or start a new run from the checkpoint's weights"
                )
        self._epoch, self._samples, self._batches = state["epoch"], state["samples"], state["batches"]

    def _epoch_has_ended(self) -> bool:
        return self._samples_per_epoch - self._samples < self._global_batch_size

    def _visits(self) -> Iterator[IntArray]:
        """This process's part of each batch from here to the end of the epoch."""
        epoch, offset = self._epoch, self._rank * self._batch_size
        last = self._samples_per_epoch - self._global_batch_size
        for start in range(self._samples, last + 1, self._global_batch_size):
            yield self._order.slice(epoch, start + offset, start + offset + self._batch_size)

    def _warn_of_damage(self) -> None:
        """Tells once, at the end of the first epoch that met any; ``damaged`` has the counts at any time."""
        if self.damaged and not self._has_warned:
            self._has_warned = True
            warnings.warn(f"{self.damaged.total()} damaged samples were replaced: {dict(self.damaged)}", stacklevel=3)
