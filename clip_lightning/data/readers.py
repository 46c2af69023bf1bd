"""What a loader's worker does: reads, decodes and crops the samples of a batch, and sees to damaged ones."""

import bisect
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import Dataset

from clip_lightning.batch import Batch
from clip_lightning.data.base import Damaged, Source
from clip_lightning.data.collate import Pair, collate, content_id
from clip_lightning.data.decoding import decode
from clip_lightning.data.order import IntArray, replacement
from clip_lightning.data.transforms import Transform, View
from clip_lightning.text import Tokenizer

DamagedSamples = dict[str, list[tuple[int, int]]]
"""Source and index of each damaged sample, by source and reason."""

BatchAndDamage = tuple[Batch, DamagedSamples]
_MAX_ATTEMPTS = 16


class _Reader(Dataset[BatchAndDamage]):
    """Reads pairs of several sources.

    Args:
        sources: Where the pairs are.
        transform: Makes the square that the encoder takes.
        tokenizer: Makes the tokens of the captions.
        views: Further versions of each pair, by name.
    """

    def __init__(
        self, sources: Sequence[Source], transform: Transform, tokenizer: Tokenizer, views: Mapping[str, View]
    ) -> None:
        self._sources = list(sources)
        self._transform = transform
        self._tokenizer = tokenizer
        self._transforms = {name: view.transform for name, view in views.items()}
        self._tokenizers = {name: view.tokenizer for name, view in views.items()}
        self._sizes = [len(source) for source in self._sources]
        self._block_ends = [list(itertools.accumulate(source.block_sizes)) for source in self._sources]

    def _pair(self, source: int, index: int, generator: np.random.Generator | None) -> Pair:
        """One pair; without a generator, with its first caption."""
        raw = self._sources[source].read(index)
        chosen = int(generator.integers(len(raw.captions))) if generator is not None and len(raw.captions) > 1 else 0
        pixels = decode(raw.image)
        views = self._views(pixels, generator) if self._transforms else {}
        image = self._transform(pixels, generator)
        block = bisect.bisect_right(self._block_ends[source], index)
        return Pair(image, raw.captions[chosen], (source, block, index), content_id(raw.image), views)

    def _views(
        self, pixels: UInt8[Tensor, "3 height width"], generator: np.random.Generator | None
    ) -> dict[str, UInt8[Tensor, "3 size size"]]:
        """The square of each further version; all of them draw the crop and the augmentations of the first."""
        views = {}
        state = {} if generator is None else generator.bit_generator.state
        for name, transform in self._transforms.items():
            views[name] = transform(pixels, generator)
            if generator is not None:
                generator.bit_generator.state = state
        return views

    def _collated(self, pairs: Sequence[Pair]) -> Batch:
        return collate(pairs, self._tokenizer, self._tokenizers)

    def _note(self, source: int, index: int, reason: Damaged, damaged: DamagedSamples) -> None:
        damaged.setdefault(f"{self._sources[source].name}: {reason}", []).append((source, index))

    def _told(self, damaged: DamagedSamples) -> str:
        """How many there are of each reason, and where the first one is."""
        firsts = {reason: (len(samples), *samples[0]) for reason, samples in damaged.items()}
        return "; ".join(
            f"{reason}: {number}, the first is {self._sources[source].place(index)}"
            for reason, (number, source, index) in firsts.items()
        )


class VisitReader(_Reader):
    """Reads batches for training: each visit draws its caption and crop, and a damaged sample is replaced."""

    def __getitem__(self, visits: IntArray) -> BatchAndDamage:
        """The batch of rows of ``Order.slice``, and which damaged samples were met."""
        damaged: DamagedSamples = {}
        generator = _VisitGenerator()
        pairs = [self._visit(source, index, seed, generator, damaged) for source, index, seed in visits.tolist()]
        return self._collated(pairs), damaged

    def _visit(
        self, source: int, index: int, visit_seed: int, generator: "_VisitGenerator", damaged: DamagedSamples
    ) -> Pair:
        seed = visit_seed
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            try:
                return self._pair(source, index, generator.at(seed))
            except Damaged as error:
                self._note(source, index, error, damaged)
            index, seed = replacement(visit_seed, attempt, self._sizes[source])
        raise ValueError(f"{_MAX_ATTEMPTS} samples in a row are damaged ({self._told(damaged)}); mend the data")


class FixedReader(_Reader):
    """Reads batches for evaluation: the first caption, no chance, and a damaged sample is left out."""

    def __getitem__(self, places: IntArray) -> BatchAndDamage:
        """The batch of rows of source and index, and which samples are missing from it."""
        damaged: DamagedSamples = {}
        pairs = []
        for source, index in places.tolist():
            try:
                pairs.append(self._pair(source, index, None))
            except Damaged as error:
                self._note(source, index, error, damaged)
        if not pairs:
            told = self._told(damaged)
            raise ValueError(f"all samples of a batch are damaged ({told}); mend the data or raise batch_size")
        return self._collated(pairs), damaged


def note_damage(
    damaged: DamagedSamples, sources: Sequence[Source], counts: Counter[str], firsts: dict[str, str]
) -> None:
    """Adds what a reader has met to a loader's counts, and the place of the first of each reason."""
    for reason, samples in damaged.items():
        counts[reason] += len(samples)
        if reason not in firsts:  # a place may cost counting the lines before it
            source, index = samples[0]
            firsts[reason] = sources[source].place(index)


class _VisitGenerator:
    """One generator that is set anew for each visit, at a tenth of the cost of making one."""

    # An odd number near 2**128 / golden ratio spreads 63-bit seeds over the state. Source: Knuth, TAOCP 6.4.
    _SPREAD = 0x9E3779B97F4A7C15F39CC0605CEDC835

    def __init__(self) -> None:
        self._bits = np.random.PCG64(0)
        self._state = self._bits.state
        self._generator = np.random.Generator(self._bits)

    def at(self, visit_seed: int) -> np.random.Generator:
        """The generator at the beginning of a visit's own stream."""
        self._state["state"]["state"] = visit_seed * self._SPREAD % 2**128
        self._bits.state = self._state
        return self._generator
