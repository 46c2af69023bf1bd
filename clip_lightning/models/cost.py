"""What a model costs: parameters, operations and memory of its parts, without allocating any of them.

- A multiply-add is two operations. Publications disagree on this, so whoever shows these numbers must say it.
- The model may lie on the meta device: the passes see tensors that have a shape and no contents. These pretend to be on
  the CPU, because there attention is the fused kernel that training uses too; the meta device itself would keep the
  attention matrix.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
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
    with FakeTensorMode(allow_non_fake_inputs=True):
        return _tower("image", model.image_encoder, model.image_projection, _images(model))


def text_cost(model: CLIP, tokens: int) -> list[PartCost]:
    """Costs of the text tower, which the model must have, and its projection for one text of so many tokens."""
    assert model.text_encoder is not None
    with FakeTensorMode(allow_non_fake_inputs=True):
        return _tower("text", model.text_encoder, model.text_projection, _texts(tokens))


def training_flops(model: CLIP) -> Callable[[int], float] | None:
    """Operations of one pair in training: forward, and backward where something is trained.

    What is computed a second time, to save memory, counts once.

    Args:
        model: Whole, on any device.

    Returns:
        A function of the tokens of the pair's text; None where a tower does what no tensor without contents can.
    """
    try:
        image = _training_flops(model.image_encoder, model.image_projection, lambda: _images(model))
        if model.text_encoder is None:
            return lambda tokens: float(image)
        # Products of weights grow with the tokens, and attention with their square, so three lengths tell of all.
        longest = model.text_encoder.context_length
        lengths = np.unique([1, -(-longest // 2), longest]).tolist()
        texts = [
            _training_flops(model.text_encoder, model.text_projection, functools.partial(_texts, length))
            for length in lengths
        ]
    except Exception:  # whatever a tower of the user's own meets there
        return None
    curve = np.polynomial.Polynomial.fit(lengths, texts, len(lengths) - 1)
    return lambda tokens: image + float(curve(tokens))


def whole_pool_flops(pool: AttentionPool) -> int:
    """Operations that an attention pool is spared by computing only the position that is used.

    OpenAI's code computes them all and takes the first, and so published figures count them.

    Args:
        pool: The pool; for one image.
    """
    positions, channels = pool.position_embedding.shape
    of_one = pool.query.weight.numel() + 2 * positions * channels + pool.out_projection.weight.numel()
    return 2 * (positions - 1) * of_one


def _images(model: CLIP) -> tuple[Tensor]:
    size = model.pixels.size
    return (torch.empty(_BATCH, 3, size, size, requires_grad=False),)


def _texts(tokens: int) -> tuple[Tensor, Tensor]:
    return torch.zeros(_BATCH, tokens, dtype=torch.int64), torch.full((_BATCH,), tokens)


def _tower(name: str, encoder: nn.Module, projection: nn.Module | None, inputs: tuple[Tensor, ...]) -> list[PartCost]:
    """The rows of an encoder and of its projection."""
    row, pooled = _part(f"{name}_encoder", encoder, inputs)
    if projection is None:
        return [row]
    return [row, _part(f"{name}_projection", projection, (pooled,))[0]]


def _part(name: str, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[PartCost, Tensor]:
    """A part's row and its output."""
    weights = _without_contents(module)
    kept: dict[int, Tensor] = {}
    with FlopCounterMode(display=False) as counter, _noting(kept):
        output: Tensor = functional_call(module, weights, inputs)
    own = {_storage(value) for value in weights.values()}
    size = sum(value.untyped_storage().nbytes() for key, value in kept.items() if key not in own)
    count = sum(parameter.numel() for parameter in module.parameters())
    return PartCost(name, count, counter.get_total_flops() // _BATCH, size // _BATCH), output


def _training_flops(encoder: nn.Module, projection: nn.Module | None, inputs: Callable[[], tuple[Tensor, ...]]) -> int:
    """Operations for one sample of a tower and of its projection."""
    with (
        FakeTensorMode(allow_non_fake_inputs=True),
        FlopCounterMode(display=False) as counter,
        _as_their_classes_say(encoder),
    ):
        output: Tensor = functional_call(encoder, _without_contents(encoder), inputs())
        if projection is not None:
            output = functional_call(projection, _without_contents(projection), (output,))
        if output.requires_grad:
            output.sum().backward()  # type: ignore[no-untyped-call]
    return int(counter.get_total_flops()) // _BATCH


def _without_contents(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers that have shapes alone; what is frozen keeps nothing for its own gradient."""
    parameters = {
        key: torch.empty_like(value, device="cpu").requires_grad_(value.requires_grad)
        for key, value in module.named_parameters()
    }
    return {**parameters, **{key: torch.empty_like(value, device="cpu") for key, value in module.named_buffers()}}


@contextmanager
def _as_their_classes_say(module: nn.Module) -> Iterator[None]:
    """Meanwhile, no part is compiled, or computed twice: both give a module a ``forward`` of its own."""
    changed = [part for part in module.modules() if "forward" in vars(part)]
    forwards = [vars(part).pop("forward") for part in changed]
    try:
        yield
    finally:
        for part, forward in zip(changed, forwards, strict=True):
            object.__setattr__(part, "forward", forward)


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
