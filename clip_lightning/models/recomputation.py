"""Gradient checkpointing: memory for time, in every tower, with the gradients that there are without it."""

import functools
import types
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recompute(blocks: Iterable[nn.Module]) -> None:
    """Has each block keep its inputs alone in training, and compute the rest again in the backward pass.

    Names of parameters and classes of modules stay as they are.

    Args:
        blocks: Modules that are each called once in a forward pass.

    Source: Chen et al. 2016 (arXiv 1604.06174), section 4.
    """
    for block in blocks:
        object.__setattr__(block, "forward", types.MethodType(_recomputed_forward, block))


def _recomputed_forward(block: nn.Module, *args: Any, **kwargs: Any) -> Any:
    forward = functools.partial(type(block).forward, block)
    if not (block.training and torch.is_grad_enabled()):
        return forward(*args, **kwargs)
    return recomputed(forward, block, *args, **kwargs)


def recomputed(function: Callable[..., Any], module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """Calls a function of which the arguments alone are kept, and that is called again in the backward pass.

    Random numbers are the same in both calls, and running statistics move in the first one only.

    Args:
        function: What to call.
        module: Holds every layer with running statistics that the function calls.
        *args: Its arguments. The random state of a device is restored where one of these is a tensor on it.
        **kwargs: Further arguments.

    Returns:
        What the function returned.
    """
    norms = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    if norms:  # Named only where it is needed, since torch.compile follows no context of our own.
        kwargs["context_fn"] = functools.partial(_contexts, norms)
    return checkpoint(function, *args, use_reentrant=False, **kwargs)


def _contexts(norms: list[_BatchNorm]) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """What surrounds the forward pass, and what its repetition."""
    return nullcontext(), _statistics_at_rest(norms)


@contextmanager
def _statistics_at_rest(norms: list[_BatchNorm]) -> Iterator[None]:
    """Meanwhile, layers normalise by their batch and do not note its statistics: that was done the first time."""
    before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, _, batches in before:
        # Counted on a copy, since synchronised layers count always.
        norm.momentum, norm.num_batches_tracked = 0.0, None if batches is None else batches.clone()
    try:
        yield
    finally:
        for norm, momentum, batches in before:
            norm.momentum, norm.num_batches_tracked = momentum, batches
