"""In which order training visits the samples: a pure function of the seed and the place in the run."""

import functools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]


class Order:
    """An endless order over weighted sources, cut into epochs of a chosen size.

    Each source is passed through in shuffled order again and again; a pass does not restart where an epoch ends. So
    with ``samples_per_epoch`` equal to the size of a single source each sample occurs once an epoch, with fewer the
    next epoch goes on with the rest, and with more every sample occurs equally often, give or take one. In every epoch
    a source has the same number of samples, in proportion to its weight, at random positions.

    A pass shuffles the blocks (shards), takes ``window_blocks`` of them at a time, and shuffles the samples of these:
    a reader needs one window of shards at hand, and finding any position costs one window.

    Args:
        block_sizes: For each source, the samples in each of its blocks.
        weights: For each source, its share of the samples, of any sum; by default its size.
        samples_per_epoch: Samples in an epoch; by default those of all sources together.
        seed: Changes everything.
        window_blocks: Blocks that are shuffled together, at least 1.

    Raises:
        ValueError: If a source is empty, or a weight or size makes no sense.
    """

    def __init__(
        self,
        block_sizes: Sequence[Sequence[int]],
        weights: Sequence[float] | None = None,
        samples_per_epoch: int | None = None,
        seed: int = 0,
        window_blocks: int = 32,
    ) -> None:
        sizes = [sum(blocks) for blocks in block_sizes]
        if not sizes or min(sizes) < 1:
            raise ValueError(f"the sources have {sizes} samples; each must have one at least")
        if samples_per_epoch is not None and samples_per_epoch < 1:
            raise ValueError(f"samples_per_epoch {samples_per_epoch} must be 1 at least")
        if window_blocks < 1:
            raise ValueError(f"window_blocks {window_blocks} must be 1 at least")
        self.samples_per_epoch = samples_per_epoch or sum(sizes)
        self._seed = seed
        self._quotas = _quotas(_shares(weights, sizes), self.samples_per_epoch)
        self._passes = [_Passes(blocks, (seed, number), window_blocks) for number, blocks in enumerate(block_sizes)]
        # One epoch's places are kept, since batches are asked for in a row.
        self._places = functools.lru_cache(maxsize=1)(self._compute_places)

    def slice(self, epoch: int, start: int, stop: int) -> IntArray:
        """Samples at positions of an epoch.

        Args:
            epoch: From 0.
            start: First position, from 0.
            stop: Position behind the last, at most ``samples_per_epoch``.

        Returns:
            A row for each position: source, index in it, and a visit seed of 63 bits that is this visit's own.
        """
        assert 0 <= start <= stop <= self.samples_per_epoch, (start, stop, self.samples_per_epoch)
        rows = np.empty((stop - start, 3), dtype=np.int64)
        for source, (quota, passes) in enumerate(zip(self._quotas, self._passes, strict=True)):
            places = self._places(epoch)[source]
            first, last = (int(place) for place in np.searchsorted(places, (start, stop)))
            at = places[first:last] - start
            rows[at, 0] = source
            rows[at, 1] = passes.slice(epoch * quota + first, epoch * quota + last)
        position = np.arange(start, stop, dtype=np.uint64) + np.uint64(epoch * self.samples_per_epoch)
        rows[:, 2] = _scramble(position + _scramble(np.array([self._seed % 2**64], dtype=np.uint64)))
        return rows

    def _compute_places(self, epoch: int) -> list[IntArray]:
        """For each source, its positions in an epoch, ascending."""
        if len(self._quotas) == 1:
            return [np.arange(self.samples_per_epoch)]
        owner = np.repeat(np.arange(len(self._quotas), dtype=np.int16), self._quotas)
        _generator(self._seed, 0, epoch).shuffle(owner)
        return [np.flatnonzero(owner == source) for source in range(len(self._quotas))]


class _Passes:
    """Endless shuffled passes through one source."""

    def __init__(self, block_sizes: Sequence[int], key: tuple[int, int], window_blocks: int) -> None:
        self._sizes = np.asarray(block_sizes, dtype=np.int64)
        self._starts = np.cumsum(self._sizes) - self._sizes
        self._total = int(self._sizes.sum())
        self._key = key
        self._window_blocks = window_blocks
        # A batch can reach into the next window or pass, so two of each are kept.
        self._blocks = functools.lru_cache(maxsize=2)(self._compute_blocks)
        self._window = functools.lru_cache(maxsize=2)(self._compute_window)

    def slice(self, start: int, stop: int) -> IntArray:
        """Indices at positions of the endless stream."""
        parts = [np.empty(0, dtype=np.int64)]
        for number in range(start // self._total, -(-stop // self._total)):
            offset = number * self._total
            parts.extend(self._within(number, max(start - offset, 0), min(stop - offset, self._total)))
        return np.concatenate(parts)

    def _within(self, number: int, start: int, stop: int) -> Iterator[IntArray]:
        """Indices at positions of one pass, window by window."""
        _, ends = self._blocks(number)
        for window in range(np.searchsorted(ends, start, side="right"), len(ends)):
            offset = int(ends[window - 1]) if window else 0
            if offset >= stop:
                return
            yield self._window(number, int(window))[max(start - offset, 0) : stop - offset]

    def _compute_blocks(self, number: int) -> tuple[IntArray, IntArray]:
        """The order of the blocks in a pass, and the position where each window ends."""
        blocks = _generator(*self._key, number + 1, 0).permutation(len(self._sizes))
        firsts = np.arange(0, len(blocks), self._window_blocks)
        return blocks, np.cumsum(np.add.reduceat(self._sizes[blocks], firsts))

    def _compute_window(self, number: int, window: int) -> IntArray:
        """The indices of a window of blocks in shuffled order."""
        blocks, _ = self._blocks(number)
        chosen = blocks[window * self._window_blocks : (window + 1) * self._window_blocks]
        indices = np.concatenate(
            [np.arange(self._sizes[block], dtype=np.int64) + self._starts[block] for block in chosen]
        )
        _generator(*self._key, number + 1, window + 1).shuffle(indices)
        return indices


def replacement(visit_seed: int, attempt: int, size: int) -> tuple[int, int]:
    """What is used instead of a damaged sample: another one of its source, the same in every run.

    Args:
        visit_seed: The visit's seed from ``Order.slice``.
        attempt: 1 for the first replacement, more if that one is damaged too.
        size: Samples in the source.

    Returns:
        Index and visit seed.
    """
    seed = int(_scramble(np.array([visit_seed + attempt], dtype=np.uint64))[0])
    return seed % size, seed


def _shares(weights: Sequence[float] | None, sizes: Sequence[int]) -> NDArray[np.float64]:
    """Each source's share of the samples, of sum 1."""
    if weights is None:
        weights = [float(size) for size in sizes]
    if len(weights) != len(sizes):
        raise ValueError(f"{len(weights)} weights for {len(sizes)} sources; give one for each")
    array = np.asarray(weights, dtype=np.float64)
    if not np.isfinite(array).all() or array.min() < 0 or array.sum() <= 0:
        raise ValueError(f"weights {list(weights)} must be finite, none negative and one positive at least")
    shares: NDArray[np.float64] = array / array.sum()
    return shares


def _quotas(shares: NDArray[np.float64], total: int) -> list[int]:
    """Whole numbers of the given sum in proportion to shares, by the largest remainder."""
    exact = shares * total
    quotas = np.floor(exact).astype(np.int64)
    missing = total - int(quotas.sum())
    quotas[np.argsort(quotas - exact, kind="stable")[:missing]] += 1
    if (quotas[shares > 0] == 0).any():
        raise ValueError(f"{total} samples an epoch leave a source none at shares {shares.tolist()}; raise them")
    return [int(quota) for quota in quotas]


def _generator(*key: int) -> np.random.Generator:
    """A generator of its own for each key."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([part % 2**64 for part in key])))


def _scramble(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Well mixed 63-bit hashes of numbers.

    Source: splitmix64 of Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators".
    """
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (mixed ^ (mixed >> np.uint64(31))) >> np.uint64(1)
