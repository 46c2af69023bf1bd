"""Features of a source in one pass over its images, shared among the processes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray as NDArray
from torch import distributed

from clip_lightning.data import ImageBatch, Source, Transform, images_of
from clip_lightning.data.features import Features, Stage
from clip_lightning.models import CLIP
from clip_lightning.objectives.scoring import evaluating

Rows = dict[Stage, Float[NDArray, "images channels"]]
"""Rows of the same images at each stage."""


class ImagePass(NamedTuple):
    """How images are encoded; only the model and the transform change what the rows are.

    Args:
        model: Used in evaluation mode, on the device where it is.
        transform: Makes a fixed-size uint8 image of a stored one.
        batch_size: Images encoded at once.
        num_workers: Processes that decode images; 0 decodes in this one.
        progress: Is told of the number of images after each batch, those included that could not be read.
    """

    model: CLIP
    transform: Transform
    batch_size: int = 256
    num_workers: int = 0
    progress: Callable[[int], None] | None = None


@dataclass(frozen=True)
class Encoded:
    """Some images of a source.

    Args:
        rows: In the order of ``index``; both stages are one array where nothing lies between them.
        index: Index of each row in the source.
        missing: For each index that could not be read, the reason.
    """

    rows: Rows
    index: Int[NDArray, "images"]
    missing: Mapping[int, str]

    def at(self, stage: Stage) -> Features:
        """The rows of one stage."""
        return Features(self.rows[stage], self.index, self.missing)


def encode_images(how: ImagePass, source: Source, indices: Int[NDArray, "images"]) -> Encoded:
    """Encodes images in the order of their indices, each once, in this process."""
    pooled: list[NDArray] = []
    features: list[NDArray] = []
    index: list[NDArray] = []
    missing: dict[int, str] = {}
    for batch in images_of(source, indices, how.transform, how.batch_size, how.num_workers):
        missing.update(batch.missing)
        if len(batch.indices):
            at_pool, projected = _encode(how.model, batch)
            index.append(batch.indices)
            pooled.append(at_pool)
            features.append(projected)
        if how.progress is not None:
            how.progress(len(batch.indices) + len(batch.missing))
    rows: Rows = {"pooled": _joined(pooled, how.model.image_encoder.output_dim)}
    is_projected = how.model.image_projection is not None
    rows["features"] = _joined(features, how.model.embed_dim) if is_projected else rows["pooled"]
    return Encoded(rows, _joined(index), missing)


def image_features(how: ImagePass, source: Source, group: distributed.ProcessGroup | None = None) -> Encoded:
    """Encodes every image of a source once. Collective: every process takes a share, and gets everything.

    Args:
        how: The model and what else it takes.
        source: The images.
        group: The processes that take part; None takes all, or this one alone where none others are known.

    Returns:
        Rows in the order of the source; damaged images are in ``missing``.

    Raises:
        ValueError: If no image can be read, with the reason of the first.
    """
    rank, world = place_among(group)
    # Contiguous shares keep the reads of a shard together; they differ by one at most, and need no padding.
    share = encode_images(how, source, np.array_split(np.arange(len(source)), world)[rank])
    return joined(source, _gathered(share, world, group))


def joined(source: Source, parts: list[Encoded]) -> Encoded:
    """All of a source from its parts.

    Args:
        source: The images.
        parts: Each image in one of them.

    Raises:
        ValueError: If no image could be read, with the reason of the first.
    """
    missing = {index: reason for part in parts for index, reason in part.missing.items()}
    index = np.concatenate([part.index for part in parts])
    if not len(index):
        reason = next(iter(missing.values()), "it is empty")
        raise ValueError(f"no image of {source.name!r} can be read: {reason}; check where its files are")
    assert sorted([*index.tolist(), *missing]) == list(range(len(source))), "an index is lost or twice"
    order = index.argsort()
    pooled = np.concatenate([part.rows["pooled"] for part in parts])[order]
    features = pooled
    if any(part.rows["features"] is not part.rows["pooled"] for part in parts):
        features = np.concatenate([part.rows["features"] for part in parts])[order]
    return Encoded({"pooled": pooled, "features": features}, index[order], missing)


def place_among(group: distributed.ProcessGroup | None) -> tuple[int, int]:
    """Rank of this process, and number of processes."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(group), distributed.get_world_size(group)


def _encode(model: CLIP, batch: ImageBatch) -> tuple[Float[NDArray, "batch pooled"], Float[NDArray, "batch features"]]:
    """A batch at both stages; only the rows stay, on the CPU."""
    with evaluating(model):
        pooled = model.pool_image(model.normalize(batch.image.to(model.logit_scale.device)))
        features = model.project_image(pooled)
    return pooled.float().cpu().numpy(), features.float().cpu().numpy()


def _joined(parts: list[NDArray], width: int | None = None) -> NDArray:
    """The parts as one array; without any, an empty one of rows of a width, or of indices."""
    if parts:
        return np.concatenate(parts)
    return np.zeros(0, np.int64) if width is None else np.zeros((0, width), np.float32)


def _gathered(share: Encoded, world: int, group: distributed.ProcessGroup | None) -> list[Encoded]:
    """The shares of all processes, on each of them, in the order of the ranks."""
    if world == 1:
        return [share]
    shares: list[Any] = [None] * world
    distributed.all_gather_object(shares, share, group=group)
    return shares
