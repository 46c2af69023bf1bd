"""What a loader's worker does: reads, decodes and crops the samples of a batch, and sees to damaged ones."""

import bisect
import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np
from torch.utils.data import Dataset

from clip_lightning.batch import Batch
from clip_lightning.data.base import Damaged, Source
from clip_lightning.data.collate import Pair, collate, content_id
from clip_lightning.data.decoding import decode
from clip_lightning.data.order import IntArray, replacement
from clip_lightning.data.transforms import Transform
from clip_lightning.text import Tokenizer

BatchAndDamage = tuple[Batch, Counter[str]]
_MAX_ATTEMPTS = 16


class _Reader(Dataset[BatchAndDamage]):
    """Reads pairs of several sources.

    Args:
        sources: Where the pairs are.
        transform: Makes the square that the encoder takes.
        tokenizer: Makes the tokens of the captions.
    """

    def __init__(self, sources: Sequence[Source], transform: Transform, tokenizer: Tokenizer) -> None:
        self._sources = list(sources)
        self._transform = transform
        self._tokenizer = tokenizer
        self._sizes = [len(source) for source in self._sources]
        self._block_ends = [list(itertools.accumulate(source.block_sizes)) for source in self._sources]

    def _pair(self, source: int, index: int, generator: np.random.Generator | None) -> Pair:
        """One pair; without a generator, with its first caption."""
        raw = self._sources[source].read(index)
        chosen = int(generator.integers(len(raw.captions))) if generator is not None and len(raw.captions) > 1 else 0
        image = self._transform(decode(raw.image), generator)
        block = bisect.bisect_right(self._block_ends[source], index)
        return Pair(image, raw.captions[chosen], (source, block, index), content_id(raw.image))


class VisitReader(_Reader):
    """Reads batches for training: each visit draws its caption and crop, and a damaged sample is replaced."""

    def __getitem__(self, visits: IntArray) -> BatchAndDamage:
        """The batch of rows of ``Order.slice``, and how many damaged samples were met, by reason."""
        damaged: Counter[str] = Counter()
        generator = _VisitGenerator()
        pairs = [self._visit(source, index, seed, generator, damaged) for source, index, seed in visits.tolist()]
        return collate(pairs, self._tokenizer), damaged

    def _visit(
        self, source: int, index: int, visit_seed: int, generator: "_VisitGenerator", damaged: Counter[str]
    ) -> Pair:
        seed = visit_seed
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            try:
                return self._pair(source, index, generator.at(seed))
            except Damaged as error:
                damaged[f"{self._sources[source].name}: {error}"] += 1
            index, seed = replacement(visit_seed, attempt, self._sizes[source])
        name = self._sources[source].name
        raise ValueError(f"{_MAX_ATTEMPTS} samples of {name!r} in a row are damaged ({dict(damaged)}); mend the data")


class FixedReader(_Reader):
    """Reads batches for evaluation: the first caption, no chance, and a damaged sample is left out."""

    def __getitem__(self, places: IntArray) -> BatchAndDamage:
        """The batch of rows of source and index, and how many samples are missing from it, by reason."""
        damaged: Counter[str] = Counter()
        pairs = []
        for source, index in places.tolist():
            try:
                pairs.append(self._pair(source, index, None))
            except Damaged as error:
                damaged[f"{self._sources[source].name}: {error}"] += 1
        if not pairs:
            raise ValueError(f"all samples of a batch are damaged ({dict(damaged)}); mend the data or raise batch_size")
        return collate(pairs, self._tokenizer), damaged


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
