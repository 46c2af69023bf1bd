"""AdamW in half the memory, with rounding that is right on the average."""

import functools
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

_CPU_CHUNK, _CHUNK = 2**17, 2**22
"""Elements that are updated at once: on the CPU few enough for its cache, elsewhere enough to keep a device busy."""

_Piece = tuple[Tensor, Tensor, Tensor, Tensor]
"""A part of a parameter, its gradient, and its first and second moment, each of one dimension."""


class HalfPrecisionAdamW(Optimizer):
    """AdamW whose moments are kept in bfloat16, 4 bytes a parameter instead of 8, and are rounded stochastically.

    A moving average that moves by less than half of bfloat16's last place would stand still if it were rounded to
    nearest, as the second moment does with usual betas. Rounded up as often as the fraction says, it is right on the
    average. Weights that are in bfloat16 are rounded so too; others keep their precision. The update is computed in
    float32, from moments that are not rounded yet.

    The random bits are a function of the step and of the place among the parameters, the same on every device: a run
    that is continued draws what it would have drawn, and all processes draw the same. Bias is corrected by the steps of
    a group, also for a parameter that had no gradient in some of them.

    Args:
        params: Parameters or parameter groups.
        lr: Learning rate, >= 0.
        betas: Decay of the two moments, each from 0 to below 1.
        eps: Added to the root of the second moment, >= 0.
        weight_decay: Factor on the learning rate by which weights shrink, >= 0.

    Raises:
        ValueError: If an argument is out of its range.

    Source: AdamW: Loshchilov and Hutter 2019 (arXiv 1711.05101), algorithm 2; half-precision moments and stochastically
        rounded weights in CLIP's training: Radford et al. 2021 (arXiv 2103.00020), section 2.5; stochastic rounding:
        Gupta et al. 2015 (arXiv 1502.02551), section 3.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        for name, value in {"lr": lr, "eps": eps, "weight_decay": weight_decay}.items():
            if value < 0:
                raise ValueError(f"{name} {value} is negative")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas {betas} are not each from 0 to below 1")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "steps": 0})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes a saved state; the moments, which torch converts to the weights' precision, become halves again."""
        super().load_state_dict(state_dict)
        for parameter, state in self.state.items():
            for name, moment in state.items():
                state[name] = torch.empty_like(parameter, dtype=torch.bfloat16).copy_(moment)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Updates all parameters that have a gradient.

        Args:
            closure: Computes the loss and the gradients anew.

        Returns:
            What the closure returns.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for number, group in enumerate(self.param_groups):
            group["steps"] += 1
            trained = [parameter for parameter in group["params"] if parameter.grad is not None]
            pieces = (piece for parameter in trained for piece in _pieces(parameter, self.state[parameter]))
            for index, chunk in enumerate(_chunks(pieces)):
                _update(chunk, group, f"step {group['steps']}, group {number}, chunk {index}")
        return loss


def _pieces(parameter: nn.Parameter, state: dict[str, Tensor]) -> Iterator[_Piece]:
    """A parameter in parts of at most a chunk; its moments are made where there are none yet."""
    if not state:
        for name in ("exp_avg", "exp_avg_sq"):
            state[name] = torch.zeros_like(parameter, dtype=torch.bfloat16)
    assert parameter.grad is not None
    tensors = [_own(tensor) for tensor in (parameter, parameter.grad, state["exp_avg"], state["exp_avg_sq"])]
    weight, gradient = tensors[:2]
    if gradient.stride() != weight.stride():
        tensors[1] = torch.empty_like(weight).copy_(gradient)
    assert tensors[2].stride() == weight.stride(), "a parameter fills its memory"
    elements, size = weight.numel(), _chunk_size(weight.device)
    for start in range(0, elements, size):
        length = (min(size, elements - start),)
        first, second, third, fourth = (
            tensor.as_strided(length, (1,), tensor.storage_offset() + start) for tensor in tensors
        )
        yield first, second, third, fourth


def _own(tensor: Tensor) -> Tensor:
    """What this process has of a tensor that may be sharded."""
    to_local = getattr(tensor, "to_local", None)
    own: Tensor = tensor.detach() if to_local is None else to_local()
    return own


def _chunks(pieces: Iterable[_Piece]) -> Iterator[list[_Piece]]:
    """Pieces gathered up to a chunk, each of one precision and device."""
    chunk: list[_Piece] = []
    elements = 0
    for piece in pieces:
        weight = piece[0]
        size = _chunk_size(weight.device)
        is_alike = not chunk or (weight.dtype, weight.device) == (chunk[0][0].dtype, chunk[0][0].device)
        if chunk and (elements + len(weight) > size or not is_alike):
            yield chunk
            chunk, elements = [], 0
        chunk.append(piece)
        elements += len(weight)
    if chunk:
        yield chunk


def _update(chunk: list[_Piece], group: dict[str, Any], place: str) -> None:
    """One step of AdamW on a chunk; what is kept in half precision is rounded by bits that belong to the place."""
    columns = [list(tensors) for tensors in zip(*chunk, strict=True)]
    sizes = [len(tensor) for tensor in columns[0]]
    rows = _workspace(columns[0][0].device)[:, : sum(sizes)]
    for row, tensors in zip(rows, columns, strict=False):
        torch._foreach_copy_(row.split(sizes), tensors)
    weight, gradient, first, second, spare = rows
    beta, beta_sq = group["betas"]
    first.lerp_(gradient, 1 - beta)
    second.mul_(beta_sq).addcmul_(gradient, gradient, value=1 - beta_sq)
    torch.sqrt(second, out=spare).div_(math.sqrt(1 - beta_sq ** group["steps"])).add_(group["eps"])
    weight.mul_(1 - group["lr"] * group["weight_decay"])
    weight.addcdiv_(first, spare, value=-group["lr"] / (1 - beta ** group["steps"]))
    # What is not needed any more holds the random bits.
    words, bits = gradient.view(torch.int32), spare.view(torch.int32)
    draw_(words, f"{place}, moments")
    round_stochastically_(second, torch.bitwise_right_shift(words, 16, out=bits).bitwise_and_(0xFFFF))
    round_stochastically_(first, words.bitwise_and_(0xFFFF))
    if columns[0][0].dtype == torch.bfloat16:
        draw_(words, f"{place}, weights")
        round_stochastically_(weight, words.bitwise_and_(0xFFFF))
    for row, tensors in ((weight, columns[0]), (first, columns[2]), (second, columns[3])):
        torch._foreach_copy_(tensors, row.split(sizes))


def round_stochastically_(values: Tensor, bits: Tensor) -> None:
    """Rounds to bfloat16 in place: away from zero as often as the fraction of bfloat16's last place says.

    Args:
        values: In float32.
        bits: As many whole numbers in int32, each from 0 to 65,535 equally often.
    """
    # bfloat16 is the upper half of float32, into which the sum carries if the lower half exceeds what the bits leave.
    values.view(torch.int32).add_(bits).bitwise_and_(-(2**16))


def draw_(words: Tensor, place: str) -> None:
    """Fills with random bits that are a function of a place and an index alone.

    One table of random words is combined with a random word of the place. So what one element gets at two places is
    independent, which is what a moving average needs, for the price of a single operation.

    Args:
        words: What is filled, in int32 and no longer than a chunk.
        place: What they are for.
    """
    word = int.from_bytes(hashlib.blake2b(place.encode(), digest_size=4).digest(), signed=True)
    torch.bitwise_xor(_table(words.device)[: len(words)], word, out=words)


@functools.cache
def _table(device: torch.device) -> Tensor:
    """As many random words of 32 bits as a chunk has elements, the same on every device."""
    bound = 2**31
    generator = torch.Generator().manual_seed(0)
    return torch.randint(-bound, bound, (_chunk_size(device),), dtype=torch.int32, generator=generator).to(device)


@functools.cache
def _workspace(device: torch.device) -> Tensor:
    """What a chunk is computed in: allocating it anew takes longer than the computation."""
    return torch.empty(5, _chunk_size(device), device=device)


def _chunk_size(device: torch.device) -> int:
    return _CPU_CHUNK if device.type == "cpu" else _CHUNK
