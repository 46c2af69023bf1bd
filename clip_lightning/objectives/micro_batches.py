"""Any batch on any memory: its samples are encoded in parts, and the loss is still that of the whole batch."""

import dataclasses

import torch
from torch import Tensor

from clip_lightning.batch import Batch
from clip_lightning.models import CLIP
from clip_lightning.models.recomputation import recomputed
from clip_lightning.objectives.base import Objective


def encode_in_micro_batches(
    objective: Objective, model: CLIP, batch: Batch, size: int | None = None
) -> dict[str, Tensor]:
    """Encodes a batch part by part, keeping the encoded rows alone.

    The activations of a part are computed again in the backward pass, with the same random numbers; layers that keep
    running statistics note each image once. Those of the last part are kept, since its backward pass comes first. So a
    step needs the memory of one part and of the rows of all, and one forward pass more for all parts but the last. The
    gradient is that of the undivided batch, if no layer looks beyond its sample; BatchNorm normalises over a part.

    Args:
        objective: What is learned.
        model: The model.
        batch: This process's pairs.
        size: Pairs in a part at most, at least 1. None: all at once.

    Returns:
        What ``objective.encode`` returns for the batch.

    Source: Gao et al. 2021 (arXiv 2101.06983), section 3, by recomputation instead of a second pass of its own.
    """
    if size is None or size >= len(batch):
        return objective.encode(model, batch)
    *parts, last = batch.split(size)
    encode = _encode_again if torch.is_grad_enabled() else _encode
    encoded = [*(encode(objective, model, part) for part in parts), _encode(objective, model, last)]
    return {name: torch.cat([rows[name] for rows in encoded]) for name in encoded[0]}


def _encode(objective: Objective, model: CLIP, part: Batch) -> dict[str, Tensor]:
    return objective.encode(model, part)


def _encode_again(objective: Objective, model: CLIP, part: Batch) -> dict[str, Tensor]:
    def encode(image: Tensor) -> dict[str, Tensor]:
        return objective.encode(model, dataclasses.replace(part, image=image))

    # The tensor among the arguments tells of which device the random state is to be kept.
    encoded: dict[str, Tensor] = recomputed(encode, model, part.image)
    return encoded
