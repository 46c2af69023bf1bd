"""Rows of all processes in one tensor, with exact gradients.

Let every process compute its part L_r of a loss so that the mean of L_r over processes is the loss L of the whole
batch. When the backward pass of the gather sums over processes, as here, the mean of the processes' gradients, which is
what data-parallel training applies, is the gradient of L: no factor of the number of processes is needed anywhere.
"""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor
from torch.distributed import ProcessGroup


def world_size(group: ProcessGroup | None = None) -> int:
    """Number of processes that share the batch; 1 when nothing is distributed."""
    return dist.get_world_size(group) if dist.is_available() and dist.is_initialized() else 1


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, rows: Tensor, group: ProcessGroup | None) -> Tensor:
        context.group = group
        gathered = rows.new_empty((world_size(group) * len(rows), *rows.shape[1:]))
        dist.all_gather_into_tensor(gathered, rows.contiguous(), group=group)
        return gathered

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        own = gradient.new_empty((len(gradient) // world_size(context.group), *gradient.shape[1:]))
        dist.reduce_scatter_tensor(own, gradient.contiguous(), group=context.group)
        return own, None


def gather_rows(
    rows: Shaped[Tensor, "batch ..."], group: ProcessGroup | None = None
) -> tuple[Shaped[Tensor, "global_batch ..."], int]:
    """Joins the rows of all processes, in the order of their ranks.

    Args:
        rows: This process's rows. With gradients, all processes must have equally many; without, as in validation, the
            last batch may be uneven.
        group: The processes that share the batch; all of them by default.

    Returns:
        The rows of all processes, and the position of this process's first row among them.
    """
    world = world_size(group)
    if world == 1:
        return rows, 0
    rank = dist.get_rank(group)
    if torch.is_grad_enabled():
        gathered: Tensor = _GatherRows.apply(rows, group)
        return gathered, rank * len(rows)
    return _gather_uneven(rows, group, world, rank)


def _gather_uneven(rows: Tensor, group: ProcessGroup | None, world: int, rank: int) -> tuple[Tensor, int]:
    sizes = torch.zeros(world, dtype=torch.int64, device=rows.device)
    dist.all_gather_into_tensor(sizes, sizes.new_tensor([len(rows)]), group=group)
    counts = sizes.tolist()
    padded = rows.new_zeros((max(counts), *rows.shape[1:]))
    padded[: len(rows)] = rows
    gathered = rows.new_empty((world * len(padded), *padded.shape[1:]))
    dist.all_gather_into_tensor(gathered, padded, group=group)
    parts = torch.split(gathered, len(padded))
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)]), sum(counts[:rank])


def mean_over_processes(value: Tensor, weight: int, group: ProcessGroup | None = None) -> Tensor:
    """The mean of a scalar over processes, weighted by each one's number of samples, without gradient."""
    if world_size(group) == 1:
        return value.detach()
    total = torch.stack([value.detach() * weight, value.new_tensor(float(weight))])
    dist.all_reduce(total, group=group)
    return total[0] / total[1]
