"""How an optimiser step is left out: everything that it would have changed stays as it was, bit by bit."""

import functools
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import SGD, Optimizer


def norm_of(gradients: Sequence[Tensor]) -> Tensor:
    """Euclidean norm of gradients together, a scalar of at least float32 on their device; 0 where there are none.

    Where gradients lie in parts on several processes, it is that of the whole ones, and all processes call this.

    Args:
        gradients: Of any shapes and precisions.
    """
    if not gradients:
        return torch.zeros(())
    # Lists of one kind each: parts of a sharded model cannot be stacked with whole tensors, nor float64 with others.
    kinds: dict[tuple[bool, bool], list[Tensor]] = {}
    for one in gradients:
        kinds.setdefault((isinstance(one, DTensor), one.dtype == torch.float64), []).append(one)
    squares = [_whole(torch.stack([*_norms(*kind, some)]).square().sum()) for kind, some in kinds.items()]
    return functools.reduce(torch.add, squares).sqrt()


def _norms(is_divided: bool, is_double: bool, tensors: list[Tensor]) -> Sequence[Tensor]:
    """The norm of each; in float32 at least, since squares of half precision overflow long before the numbers do."""
    if is_divided:  # for which PyTorch has no such norm
        return torch._foreach_norm([one if is_double else one.float() for one in tensors])
    return torch._foreach_norm(tensors, 2, torch.float64 if is_double else torch.float32)


def _whole(value: Tensor) -> Tensor:
    return value.full_tensor() if isinstance(value, DTensor) else value


def part_here(value: Tensor) -> Tensor:
    """What of a tensor lies in this process: all of it, unless the model is sharded."""
    return value.to_local() if isinstance(value, DTensor) else value


def in_any_process(found: Tensor) -> Tensor:
    """The largest value of a scalar over all processes, on the device."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return found


def in_all_processes(value: Tensor) -> Tensor:
    """The sum of a scalar over all processes, on the device."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(value)
    return value


def skip_where(found: Tensor, optimizer: Optimizer, scaler: Any = None) -> None:
    """Has the optimiser's coming step change nothing if a flag is 1.

    The fused kernels of Adam, AdamW and Adagrad read the flag on the device: parameters, moments and the count of steps
    stay as they are, and nobody waits. Other optimisers leave out what has no gradient, so gradients are taken away;
    for that the host has to read the flag, once a step. So do optimisers behind the scaler of 16-mixed, which reads its
    own flag then anyway; one that unscales by itself is left to the scaler.

    Args:
        found: 0 or 1, a float32 scalar on the device.
        optimizer: Whose step follows.
        scaler: The gradient scaler of 16-mixed, if there is one.
    """
    if scaler is None:
        if reads_the_flag(optimizer):
            optimizer.found_inf = found  # type: ignore[attr-defined]
            return
    elif getattr(optimizer, "_step_supports_amp_scaling", False):
        return
    if bool(found):
        optimizer.zero_grad(set_to_none=True)


def reads_the_flag(optimizer: Optimizer) -> bool:
    """Whether the optimiser's own kernel leaves out a step that is flagged, by the sign that torch's scaler goes by."""
    # SGD would begin its momentum with whatever is in memory if its first step is left out.
    supports = getattr(optimizer, "_step_supports_amp_scaling", False) and not isinstance(optimizer, SGD)
    parts = (parameter for group in optimizer.param_groups for parameter in group["params"])
    return supports and not any(isinstance(parameter, DTensor) for parameter in parts)


class RunningStatistics:
    """The running statistics of a model's normalisation layers, to be put back after a forward pass that spoilt them.

    Args:
        model: Whose layers; of most there are none.
    """

    def __init__(self, model: nn.Module) -> None:
        buffers = [buffer for part in model.modules() if isinstance(part, _NormBase) for buffer in part.buffers()]
        # The counts of batches are integers, and are kept apart from the means and variances.
        kinds = {(buffer.dtype, buffer.device) for buffer in buffers}
        self._kinds = [[one for one in buffers if (one.dtype, one.device) == kind] for kind in sorted(kinds, key=str)]
        self._kept: list[Tensor] = []

    @torch.no_grad()
    def keep(self) -> None:
        """Takes a copy."""
        self._kept = [_flat(buffers) for buffers in self._kinds]

    @torch.no_grad()
    def restore_where(self, found: Tensor) -> None:
        """Puts the copy back where a flag is 1, on the device; what is spoilt may be NaN, so nothing is multiplied."""
        for kept, buffers in zip(self._kept, self._kinds, strict=True):
            chosen = torch.where(found > 0, kept, _flat(buffers))
            parts = torch.split(chosen, [buffer.numel() for buffer in buffers])
            torch._foreach_copy_(buffers, [part.view_as(buffer) for part, buffer in zip(parts, buffers, strict=True)])


def _flat(buffers: Sequence[Tensor]) -> Tensor:
    return torch.cat([buffer.flatten() for buffer in buffers])
