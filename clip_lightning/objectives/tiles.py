"""Logits of all pairs of an image and a text, a tile at a time, and what is kept of them: nothing of their size."""

import math
from collections.abc import Iterator
from typing import NamedTuple, Self

import torch
from jaxtyping import Float
from torch import Tensor

TILE_SIZE = 1024
"""Rows and columns of a tile: large enough for a processor's full speed in products, and small enough for its cache."""

_LOG2_E = math.log2(math.e)


class Tile(NamedTuple):
    """Some images with some texts.

    Args:
        rows: Which of the images.
        columns: Which of the texts.
        logits: Scale times cosines; a buffer that the next tile overwrites.
        scratch: Another buffer of the same shape, for whoever has the tile.
        images: The images' rows, in the precision of the logits.
        texts: The texts' rows likewise.
        offset: Column less row of the entries that belong together, those of a pair; the tile may have none of them.
    """

    rows: slice
    columns: slice
    logits: Float[Tensor, "rows columns"]
    scratch: Float[Tensor, "rows columns"]
    images: Float[Tensor, "rows embed_dim"]
    texts: Float[Tensor, "columns embed_dim"]
    offset: int

    @property
    def pairs(self) -> slice:
        """Which of the images are here with their own texts."""
        height, width = self.logits.shape
        start = max(0, -self.offset)
        stop = max(start, min(height, width - self.offset))
        return slice(self.rows.start + start, self.rows.start + stop)

    def diagonal(self, entries: Float[Tensor, "rows columns"]) -> Float[Tensor, "pairs"]:
        """Entries of the images that are here with their own texts, as a view."""
        first = max(0, -self.offset)
        count = self.pairs.stop - self.pairs.start
        return entries[first : first + count, first + self.offset : first + self.offset + count].diagonal()


class Tiles:
    """Walks over the logits of this process's images and blocks of texts.

    Args:
        images: Embeddings of any precision; products and logits are at least fp32.
        scale: Factor on cosine similarities.
        first: Place of the first image in the whole batch.
        size: Rows and columns of a tile, at least 1; the last ones of a block are smaller.

    Attributes:
        like: An empty tensor of the precision of the logits, and on their device.

    Raises:
        ValueError: If the size is below 1.
    """

    def __init__(self, images: Float[Tensor, "batch embed_dim"], scale: Tensor, first: int, size: int) -> None:
        if size < 1:
            raise ValueError(f"tile_size {size} is below 1; {TILE_SIZE} is usual")
        self.images = images
        self.dtype = precision(images)
        self.scale = scale.to(self.dtype)
        self.first = first
        self.size = size
        self.like = images.new_empty(0, dtype=self.dtype)
        self._buffers = self.like.new_empty((2, 0))

    def over(self, texts: Float[Tensor, "block embed_dim"], place: slice) -> Iterator[Tile]:
        """Tiles of all images with a block of texts that has its place in the whole batch."""
        area = min(self.size, len(self.images)) * min(self.size, len(texts))
        if self._buffers.shape[1] < area:
            self._buffers = self._buffers.new_empty((2, area))
        for rows in chunks(len(self.images), self.size):
            images = self.images[rows].to(self.dtype)
            for columns in chunks(len(texts), self.size):
                some = texts[columns].to(self.dtype)
                logits, scratch = (
                    buffer[: len(images) * len(some)].view(len(images), len(some)) for buffer in self._buffers
                )
                torch.mm(images, some.T, out=logits).mul_(self.scale)
                offset = self.first + rows.start - place.start - columns.start
                yield Tile(rows, columns, logits, scratch, images, some, offset)


def precision(rows: Tensor) -> torch.dtype:
    """Of logits and sums: fp32, or fp64 where the rows have it."""
    return torch.float64 if rows.dtype == torch.float64 else torch.float32


def chunks(count: int, size: int) -> Iterator[slice]:
    """Places from 0 to the count, so many at a time."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def dot(
    left: Float[Tensor, "batch embed_dim"], right: Float[Tensor, "batch embed_dim"], size: int = TILE_SIZE
) -> Float[Tensor, ""]:
    """Sum of the products of all entries, in the precision of the right, with little memory."""
    return torch.stack([(left[rows] * right[rows]).sum() for rows in chunks(len(left), size)]).sum()


def check_once() -> None:
    """Refuses, in a backward pass, that the gradients themselves be differentiated.

    Raises:
        RuntimeError: If they are to be: they would be taken for constants.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(
            "this loss can be differentiated once, since nothing of its logits is kept; leave out create_graph=True"
        )


def moved(place: slice, by: int) -> slice:
    """A place, counted from elsewhere."""
    return slice(place.start + by, place.stop + by)


def _exp_(entries: Tensor) -> Tensor:
    """Exponentials in place, as powers of 2, which PyTorch has faster on a CPU in fp32."""
    return entries.mul_(_LOG2_E).exp2_()


class LogSumExp(NamedTuple):
    """Logarithms of sums of exponentials that arrive in parts.

    They are kept in two parts: where logits are large, what the sum adds to the largest of them would be lost in one.

    Args:
        largest: Largest entry of each sum yet.
        total: Sum of the exponentials of the entries less the largest.
    """

    largest: Float[Tensor, "count"]
    total: Float[Tensor, "count"]

    @classmethod
    def of_nothing(cls, count: int, like: Tensor) -> Self:
        """Empty sums of a precision and on a device."""
        return cls(like.new_full((count,), -torch.inf), like.new_zeros(count))

    def add(self, place: slice, logits: Tensor, dim: int, scratch: Tensor) -> None:
        """Takes the entries of some sums, which lie along a dimension."""
        before = self.largest[place]
        largest = torch.maximum(before, logits.amax(dim))
        terms = _exp_(torch.sub(logits, largest.unsqueeze(dim), out=scratch)).sum(dim)
        self.total[place] = self.total[place] * (before - largest).exp() + terms
        self.largest[place] = largest

    def merged(self) -> "LogSumExp":
        """One sum in place of those along the first dimension."""
        largest = self.largest.amax(dim=0)
        return LogSumExp(largest, (self.total * (self.largest - largest).exp()).sum(dim=0))

    def less(self, logits: Float[Tensor, "some"], place: slice) -> Float[Tensor, "some"]:
        """Some of the logarithms, less an entry of each."""
        return self.largest[place] - logits + self.total[place].log()

    def log_softmax(self, place: slice, logits: Tensor, dim: int) -> Tensor:
        """Entries less the logarithms."""
        largest, total = self.largest[place].unsqueeze(dim), self.total[place].unsqueeze(dim)
        return (logits - largest).sub_(total.log())

    def softmax(self, place: slice, logits: Tensor, dim: int, out: Tensor) -> Tensor:
        """Exponentials of entries less the logarithms."""
        largest, total = self.largest[place].unsqueeze(dim), self.total[place].unsqueeze(dim)
        return _exp_(torch.sub(logits, largest, out=out)).div_(total)


class Nearest:
    """Largest entries that arrive in parts, and where they are: the first of equal ones.

    Args:
        count: How many.
        like: A tensor of their precision and device.
    """

    def __init__(self, count: int, like: Tensor) -> None:
        self.largest = like.new_full((count,), -torch.inf)
        self.where = torch.zeros(count, dtype=torch.int64, device=like.device)

    def add(self, place: slice, logits: Tensor, dim: int, first: int) -> None:
        """Takes entries along a dimension, the first of which has a place of its own."""
        # Along its rows a processor finds the largest of a matrix four times as fast as along its columns.
        largest, where = (logits if dim == 1 else logits.T.contiguous()).max(1)
        is_larger = largest > self.largest[place]
        self.where[place] = torch.where(is_larger, where + first, self.where[place])
        self.largest[place] = torch.maximum(largest, self.largest[place])
