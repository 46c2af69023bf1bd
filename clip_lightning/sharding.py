"""Weights, gradients and optimiser states divided over processes, and whole again where they are needed (FSDP2).

Each block of a tower, what else the tower has, and each projection is divided along its first dimension. Whatever does
not belong to these, such as the temperature, which is a scalar and cannot be divided, stays whole in every process.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Replicate, distribute_tensor
from torch.optim import Adam, Optimizer

from clip_lightning.models import CLIP


def shard(model: CLIP, mesh: DeviceMesh) -> None:
    """Divides a model's weights over processes, in place; each process then keeps its part.

    The weights are those of the first process. While a block computes, all of it is in every process.

    Args:
        model: The model, the same in all processes.
        mesh: The processes, in one dimension.

    Source: Zhao et al. 2023 (arXiv 2304.11277); FSDP2 of PyTorch divides each parameter for itself.
    """
    if is_sharded(model):
        return
    model.to(mesh.device_type)
    for tensor in (*model.parameters(), *model.buffers()):
        dist.broadcast(tensor.data, src=0, group=mesh.get_group())
    scalars = {parameter for parameter in model.parameters() if parameter.ndim == 0}
    for tower in (model.image_encoder, model.text_encoder):
        for block in tower.blocks() if tower is not None else ():
            fully_shard(block, mesh=mesh, reshard_after_forward=True, ignored_params=scalars)
    for part in (model.image_encoder, model.text_encoder, model.image_projection, model.text_projection):
        if part is not None:
            fully_shard(part, mesh=mesh, reshard_after_forward=True, ignored_params=scalars)


def is_sharded(module: nn.Module) -> bool:
    """Whether a part of a module is divided over processes."""
    return any(isinstance(part, FSDPModule) for part in module.modules())


@contextmanager
def whole(module: nn.Module) -> Iterator[None]:
    """Meanwhile, all weights are in every process, so that one may encode more than another, or alone.

    All processes enter and leave it together. It may be entered again while it lasts.

    Args:
        module: The model; nothing happens where it is not divided.
    """
    parts = [part for part in module.modules() if isinstance(part, FSDPModule)]
    entered = [part for part in parts if not getattr(part, "_is_whole", False)]
    # What is gathered in inference mode could not be trained with afterwards.
    with torch.inference_mode(False), torch.no_grad():
        for part in entered:
            _gather(part)
    try:
        yield
    finally:
        for part in entered:
            _divide(part)


def full(tensor: Tensor) -> Tensor:
    """A tensor in one piece, on the CPU; all processes call it with their parts."""
    whole_tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return whole_tensor.detach().cpu()


def like(value: Tensor, example: Tensor) -> Tensor:
    """A tensor in one piece, divided as another one is if that is divided.

    Args:
        value: The same in all processes.
        example: The parameter that it is, or that it belongs to.
    """
    if not isinstance(example, DTensor):
        return value
    local = value.to(example.to_local().device)
    return distribute_tensor(local, example.device_mesh, example.placements, src_data_rank=None)


def load_full(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Loads weights in one piece into a module, divided or not.

    Args:
        module: Changed in place.
        weights: All of its weights, by name.
    """
    there = module.state_dict()
    module.load_state_dict({name: like(value, there[name]) for name, value in weights.items()})


def own(tensor: Tensor) -> Tensor | None:
    """What this process alone can save of a tensor: its part; of what is whole in all of them, the first one's."""
    if isinstance(tensor, DTensor):
        if any(placement.is_shard() for placement in tensor.placements):
            return tensor.to_local().detach().cpu()
        tensor = tensor.to_local()
    return tensor.detach().cpu() if dist.get_rank() == 0 else None


def state_of(optimizer: Optimizer, take: Callable[[Tensor], Tensor | None]) -> dict[str, Any]:
    """An optimiser's state, of each tensor what is taken.

    Args:
        optimizer: Of a divided model, perhaps.
        take: ``full`` for the state as it would be without any division, which all processes ask for; ``own`` for what
            this process has of it.
    """
    state: dict[str, Any] = optimizer.state_dict()
    values = {
        number: {
            name: taken
            for name, value in entries.items()
            if (taken := take(value) if isinstance(value, Tensor) else value) is not None
        }
        for number, entries in state["state"].items()
    }
    return {**state, "state": values}


def load_full_state(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Loads an optimiser's state in one piece, as an undivided optimiser gives it."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    values = {
        number: {
            name: like(value, parameters[number])
            if isinstance(value, Tensor) and value.shape == parameters[number].shape and value.ndim
            else value
            for name, value in entries.items()
        }
        for number, entries in state["state"].items()
    }
    # Which kernel computes a step is a matter of the strategy, and no state.
    groups = [
        {**theirs, **{name: ours[name] for name in ("fused",) if name in ours}}
        for theirs, ours in zip(state["param_groups"], optimizer.param_groups, strict=True)
    ]
    optimizer.load_state_dict({**state, "state": values, "param_groups": groups})


def replicate(optimizer: Optimizer, mesh: DeviceMesh) -> None:
    """Has an optimiser treat undivided parameters beside divided ones, with the mean of all processes' gradients.

    Optimisers and the norm of gradients take no mixture of both in one call. So each undivided parameter is handed to
    the optimiser as a distributed tensor of the same memory, which every process has whole.

    Args:
        optimizer: Of a model that ``shard`` has divided, before its first step.
        mesh: The processes.
    """
    for group in optimizer.param_groups:
        if "fused" in group and not isinstance(optimizer, Adam):
            group["fused"] = False  # PyTorch divides no other optimiser's fused kernel.
        group["params"] = [
            parameter if isinstance(parameter, DTensor) else _replicated(parameter, mesh)
            for parameter in group["params"]
        ]


def _replicated(parameter: nn.Parameter, mesh: DeviceMesh) -> nn.Parameter:
    """A distributed parameter on the memory of one that every process has; it takes over its gradients."""
    shared = nn.Parameter(DTensor.from_local(parameter.data, mesh, [Replicate()], run_check=False))

    def hand_over(parameter: Tensor) -> None:
        assert parameter.grad is not None
        gradient, parameter.grad = parameter.grad / mesh.size(), None
        dist.all_reduce(gradient, group=mesh.get_group())
        spread = DTensor.from_local(gradient, mesh, [Replicate()], run_check=False)
        shared.grad = spread if shared.grad is None else shared.grad + spread

    parameter.register_post_accumulate_grad_hook(hand_over)  # type: ignore[no-untyped-call]
    return shared


def part_name(rank: int, world_size: int) -> str:
    """Name of the file with one process's part of a checkpoint that is a folder."""
    return f"{rank:05}-of-{world_size:05}.pt"


def parts_of(folder: Path) -> list[Path]:
    """Files of the parts of a checkpoint, in order; none if a folder is something else.

    Raises:
        ValueError: If some of them are missing.
    """
    first = next(iter(folder.glob("00000-of-?????.pt")), None)
    if first is None:
        return []
    size = int(first.stem.rpartition("-")[2])
    paths = [folder / part_name(rank, size) for rank in range(size)]
    if missing := [path.name for path in paths if not path.is_file()]:
        raise ValueError(f"checkpoint {str(folder)!r} is not whole: it lacks {', '.join(missing)}")
    return paths


def joined(parts: Sequence[Any]) -> Any:
    """What the parts of a checkpoint are together: divided along the first dimension is what the others have too."""
    first, *others = parts
    if not isinstance(first, Mapping):
        return first
    return {
        key: value
        if not all(isinstance(other, Mapping) and key in other for other in others)
        else _joined_values([value, *(other[key] for other in others)])
        for key, value in first.items()
    }


def _joined_values(values: Sequence[Any]) -> Any:
    if isinstance(values[0], Tensor):
        return torch.cat(list(values))
    if isinstance(values[0], list):
        return [_joined_values(items) for items in zip(*values, strict=True)]
    return joined(values)


def _gather(part: Any) -> None:
    """Has a part stay whole from now on: no forward pass takes it apart, and so none needs the other processes."""
    part.set_reshard_after_forward(False, recurse=False)
    part.unshard()
    part._is_whole = True


def _divide(part: Any) -> None:
    """Gives a part's memory back."""
    part.set_reshard_after_forward(True, recurse=False)
    part.reshard()
    part._is_whole = False
