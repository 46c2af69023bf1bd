"""Many short texts in little memory."""

import itertools
import zlib
from collections.abc import Iterable, Iterator

_BLOCK = 256
_SEPARATOR = "\0"


class PackedTexts:
    """Texts by index, compressed in blocks: file names in order take about 5 bytes each, where a str takes 80.

    Args:
        texts: The texts, without null characters.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._blocks: list[bytes] = []
        self._length = 0
        self._recent: tuple[int, list[str]] = (-1, [])
        iterator = iter(texts)
        while block := list(itertools.islice(iterator, _BLOCK)):
            # File names that are not UTF-8 have surrogates.
            self._blocks.append(zlib.compress(_SEPARATOR.join(block).encode("utf-8", "surrogateescape")))
            self._length += len(block)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < self._length:
            raise IndexError(index)
        return self._block(index // _BLOCK)[index % _BLOCK]

    def __iter__(self) -> Iterator[str]:
        for block in range(len(self._blocks)):
            yield from self._block(block)

    def _block(self, block: int) -> list[str]:
        # What is read in order is in one block many times.
        if self._recent[0] != block:
            texts = zlib.decompress(self._blocks[block]).decode("utf-8", "surrogateescape").split(_SEPARATOR)
            self._recent = block, texts
        return self._recent[1]
