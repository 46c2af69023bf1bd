"""One pass over the images of a source."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int, UInt8
from numpy import ndarray as NDArray
from torch import Tensor
from torch.utils.data import Dataset

from clip_lightning.data.base import Damaged, Source
from clip_lightning.data.decoding import decode
from clip_lightning.data.fetching import fetch
from clip_lightning.data.transforms import Transform


class ImageBatch(NamedTuple):
    """Some images of a source.

    Args:
        indices: Index of each image in the source.
        image: Their pixels.
        missing: For each index of the batch that could not be read, the reason.
    """

    indices: Int[NDArray, "batch"]
    image: UInt8[Tensor, "batch 3 size size"]
    missing: dict[int, str]


def images_of(
    source: Source,
    indices: Sequence[int] | Int[NDArray, "images"],
    transform: Transform,
    batch_size: int,
    num_workers: int = 0,
) -> Iterator[ImageBatch]:
    """Images in the given order, each index exactly once: in a batch, or as missing from it.

    Args:
        source: Where the images are.
        indices: Which of them.
        transform: Makes the square that the image encoder takes, without chance.
        batch_size: Images in a batch, at most.
        num_workers: Worker processes; 0 reads in this process.

    Raises:
        ValueError: If ``batch_size`` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size {batch_size} must be 1 at least")
    wanted = np.asarray(indices, dtype=np.int64)
    batches = [wanted[start : start + batch_size] for start in range(0, len(wanted), batch_size)]
    yield from fetch(_Reader(source, transform), batches, num_workers)


class _Reader(Dataset[ImageBatch]):
    """Reads a batch of images."""

    def __init__(self, source: Source, transform: Transform) -> None:
        self._source = source
        self._transform = transform

    def __getitem__(self, indices: Int[NDArray, "batch"]) -> ImageBatch:
        found: dict[int, Tensor] = {}
        missing: dict[int, str] = {}
        for index in indices.tolist():
            try:
                found[index] = self._transform(decode(self._source.read(index).image))
            except Damaged as error:
                missing[index] = str(error)
        size = self._transform.size
        image = torch.stack(list(found.values())) if found else torch.empty((0, 3, size, size), dtype=torch.uint8)
        return ImageBatch(np.array(list(found), dtype=np.int64), image, missing)
