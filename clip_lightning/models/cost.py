"""What a model costs: parameters, operations and memory of its parts, without allocating any of them.

- A multiply-add is two operations. Publications disagree on this, so whoever shows these numbers must say it.
- The model may lie on the meta device: the passes see tensors that have a shape and no contents. These pretend to be on
  the CPU, because there attention is the fused kernel that training uses too; the meta device itself would keep the
  attention matrix.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from clip_lightning.models.clip import CLIP
from clip_lightning.models.modified_resnet import AttentionPool

_BATCH = 2  # batch statistics of a 1x1 map need two samples


@dataclass(frozen=True)
class PartCost:
    """What one part of a model costs for one sample.

    Args:
        part: Name of the part, an attribute of ``CLIP``.
        parameters: Number of values that are learned.
        flops: Floating-point operations of the forward pass for one image or one text of full length, a multiply-add
            counted as 2. Only products of matrices, convolutions and attention count, as is usual.
        activation_bytes: Memory of what the forward pass keeps for the backward pass in fp32, weights not counted, for
            one image or one text of full length.
    """

    part: str
    parameters: int
    flops: int
    activation_bytes: int


def model_cost(model: CLIP) -> list[PartCost]:
    """Costs of each part of a model in the mode that it is in, from images to the temperature.

    Args:
        model: The model, on any device; on the meta device it never takes memory.

    Returns:
        One row for each part that the model has.

    Example:
        >>> with torch.device("meta"):
        ...     model = vit_b_32()
        >>> round(model_cost(model)[0].flops / 1e9, 2)
        8.82
    """
    rows = image_cost(model)
    if model.text_encoder is not None:
        rows += text_cost(model, model.text_encoder.context_length)
    return [*rows, PartCost("logit_scale", model.logit_scale.numel(), 0, 0)]


def image_cost(model: CLIP) -> list[PartCost]:
    """Costs of the image tower and its projection for one image."""
    size = model.pixels.size
    with FakeTensorMode(allow_non_fake_inputs=True):
        image = torch.empty(_BATCH, 3, size, size, requires_grad=False)
        return _tower("image", model.image_encoder, model.image_projection, (image,))


def text_cost(model: CLIP, tokens: int) -> list[PartCost]:
    """Costs of the text tower, which the model must have, and its projection for one text of so many tokens."""
    assert model.text_encoder is not None
    with FakeTensorMode(allow_non_fake_inputs=True):
        text, length = torch.zeros(_BATCH, tokens, dtype=torch.int64), torch.full((_BATCH,), tokens)
        return _tower("text", model.text_encoder, model.text_projection, (text, length))


def whole_pool_flops(pool: AttentionPool) -> int:
    """Operations that an attention pool is spared by computing only the position that is used.

    OpenAI's code computes them all and takes the first, and so published figures count them.

    Args:
        pool: The pool; for one image.
    """
    positions, channels = pool.position_embedding.shape
    of_one = pool.query.weight.numel() + 2 * positions * channels + pool.out_projection.weight.numel()
    return 2 * (positions - 1) * of_one


def _tower(name: str, encoder: nn.Module, projection: nn.Module | None, inputs: tuple[Tensor, ...]) -> list[PartCost]:
    """The rows of an encoder and of its projection."""
    row, pooled = _part(f"{name}_encoder", encoder, inputs)
    if projection is None:
        return [row]
    return [row, _part(f"{name}_projection", projection, (pooled,))[0]]


def _part(name: str, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[PartCost, Tensor]:
    """A part's row and its output."""
    parameters = {key: torch.empty_like(value, device="cpu") for key, value in module.named_parameters()}
    buffers = {key: torch.empty_like(value, device="cpu") for key, value in module.named_buffers()}
    # What is frozen keeps nothing for its own gradient.
    for key, parameter in module.named_parameters():
        parameters[key].requires_grad_(parameter.requires_grad)
    kept: dict[int, Tensor] = {}
    with FlopCounterMode(display=False) as counter, _noting(kept):
        output: Tensor = functional_call(module, {**parameters, **buffers}, inputs)
    own = {_storage(value) for value in (*parameters.values(), *buffers.values())}
    size = sum(value.untyped_storage().nbytes() for key, value in kept.items() if key not in own)
    count = sum(parameter.numel() for parameter in module.parameters())
    return PartCost(name, count, counter.get_total_flops() // _BATCH, size // _BATCH), output


@contextmanager
def _noting(kept: dict[int, Tensor]) -> Iterator[None]:
    """Meanwhile, what autograd keeps is noted by the memory that it lies in, which several tensors may share."""

    def note(tensor: Tensor) -> Tensor:
        kept[_storage(tensor)] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        yield


def _storage(tensor: Tensor) -> int:
    """Identity of a tensor's memory, which has no address where nothing is allocated."""
    return int(tensor.untyped_storage()._cdata)
