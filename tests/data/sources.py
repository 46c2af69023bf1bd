"""Sources for tests whose samples say which they are."""

import numpy as np

from clip_lightning.data import Damaged, RawSample, Source


class Numbered(Source):
    """Sample i has pixels and two captions that name i; samples in ``damaged`` cannot be read."""

    def __init__(self, blocks, name="numbered", damaged=(), side=8):
        self.name = name
        self._blocks = tuple(blocks)
        self._damaged = frozenset(damaged)
        self._side = side

    @property
    def fingerprint(self):
        return f"{self.name}{self._blocks}"

    @property
    def block_sizes(self):
        return self._blocks

    def read(self, index):
        if index in self._damaged:
            raise Damaged("torn")
        image = np.random.default_rng(index).integers(0, 256, (self._side, self._side + 4, 3), dtype=np.uint8)
        return RawSample(image, (f"{self.name} {index}", f"number {index} of {self.name}"))

    def captions(self):
        for index in range(len(self)):
            yield from (f"{self.name} {index}", f"number {index} of {self.name}")
