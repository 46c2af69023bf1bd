"""Features of a labelled data set in one pass over its images, shared among the processes."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray as NDArray
from torch import distributed

from clip_lightning.data import ImageBatch, LabelledDataset, Transform, labelled_images
from clip_lightning.data.features import Features
from clip_lightning.objectives.base import Scorer


class _Share(NamedTuple):
    """What one process has encoded, in batches."""

    indices: list[Int[NDArray, "batch"]]
    values: list[Float[NDArray, "batch channels"]]
    missing: dict[int, str]


def image_features(
    scorer: Scorer,
    dataset: LabelledDataset,
    transform: Transform,
    batch_size: int = 256,
    num_workers: int = 0,
    device: torch.device | str = "cpu",
    group: distributed.ProcessGroup | None = None,
) -> Features:
    """Encodes every image of a data set once. Collective: every process takes a share, and gets everything.

    Args:
        scorer: Encodes the images.
        dataset: Images and labels.
        transform: Makes a fixed-size uint8 image of a stored one.
        batch_size: Images encoded at once.
        num_workers: Processes that decode images; 0 decodes in this one.
        device: Where the scorer's model is.
        group: The processes that take part; None takes all, or this one alone where none others are known.

    Returns:
        Rows in the order of the data set; damaged images are in ``missing``.

    Raises:
        ValueError: If no image can be read, with the reason of the first.
    """
    rank, world = _place(group)
    # Contiguous shares keep the reads of a shard together; they differ by one at most, and need no padding.
    indices = np.array_split(np.arange(len(dataset)), world)[rank]
    batches = labelled_images(dataset, indices, transform, batch_size, num_workers)
    shares = _gathered(_encoded(scorer, batches, device), world, group)
    missing = {index: reason for share in shares for index, reason in share.missing.items()}
    values = [rows for share in shares for rows in share.values]
    if not values:
        reason = next(iter(missing.values()), "it is empty")
        raise ValueError(f"no image of {dataset.name!r} can be read: {reason}; check where its files are")
    index = np.concatenate([rows for share in shares for rows in share.indices])
    assert sorted([*index.tolist(), *missing]) == list(range(len(dataset))), "an index is lost or twice"
    order = index.argsort()
    return Features(np.concatenate(values)[order], index[order], targets(dataset, index[order]), missing)


def targets(dataset: LabelledDataset, index: Int[NDArray, "images"]) -> NDArray:
    """Labels of the samples at the indices: int64, or rows of 0 and 1 (multi-label)."""
    return np.asarray([dataset.target(int(place)) for place in index], dtype=np.int64)


def _place(group: distributed.ProcessGroup | None) -> tuple[int, int]:
    """Rank and number of processes."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(group), distributed.get_world_size(group)


def _encoded(scorer: Scorer, batches: Iterator[ImageBatch], device: torch.device | str) -> _Share:
    """Runs the batches through the scorer; only the rows stay, on the CPU."""
    share = _Share([], [], {})
    for indices, image, missing in batches:
        share.missing.update(missing)
        if len(indices):
            share.indices.append(indices)
            share.values.append(scorer.encode(image.to(device)).float().cpu().numpy())
    return share


def _gathered(share: _Share, world: int, group: distributed.ProcessGroup | None) -> list[_Share]:
    """The shares of all processes, on each of them, in the order of the ranks."""
    if world == 1:
        return [share]
    shares: list[Any] = [None] * world
    distributed.all_gather_object(shares, share, group=group)
    return shares
