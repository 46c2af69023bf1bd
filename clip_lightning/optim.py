"""Which parameters decay, which optimiser updates them, and how the learning rate goes."""

import functools
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from clip_lightning.spec import HasSpec, partial_class

OptimizerCallable = Callable[[Iterable[Any]], Optimizer]

PAPER_ADAMW = functools.partial(torch.optim.AdamW, lr=5e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2)
"""The paper's optimiser for Vision Transformers (Radford et al. 2021, tables 18-20); ResNets have betas (0.9, 0.999)
and eps 1e-8."""


POSITION_NAMES = frozenset({"position_embedding", "positional_embedding", "pos_embed"})
"""What position embeddings are called, here and in the field; unlike biases they have the shape of a matrix."""


def decay_groups(module: nn.Module) -> list[dict[str, Any]]:
    """Splits trainable parameters into those with weight decay and those without.

    Matrices and convolution kernels decay. Gains, biases, class tokens, position embeddings, the temperature, and what
    a module lists in ``no_weight_decay()`` (timm's convention) do not.

    Args:
        module: The model, and whatever else is trained with it.

    Returns:
        Two parameter groups; the second sets ``weight_decay`` to 0.

    Source: Radford et al. 2021, section 2.5 (all weights that are not gains or biases).
    """
    excluded = _excluded_names(module)
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            is_matrix = parameter.squeeze().ndim >= 2
            is_position = name.rpartition(".")[2] in POSITION_NAMES
            groups[is_matrix and not is_position and name not in excluded].append(parameter)
    return [{"params": groups[True]}, {"params": groups[False], "weight_decay": 0.0}]


def _excluded_names(module: nn.Module) -> set[str]:
    """Full names of the parameters that submodules list in ``no_weight_decay()``."""
    names = set()
    for prefix, part in module.named_modules():
        listed = getattr(part, "no_weight_decay", None)
        if callable(listed):
            names |= {f"{prefix}.{name}" if prefix else name for name in listed()}
    return names


def build_optimizer(optimizer: OptimizerCallable, module: nn.Module, *, fused: bool) -> Optimizer:
    """Makes the optimiser over the module's decay groups.

    Args:
        optimizer: A ``functools.partial`` of an optimiser class, as the command line makes of a ``class_path``.
        module: What is trained.
        fused: Whether to prefer the fused kernel where the class has one and the configuration does not say.

    Returns:
        The optimiser.

    Raises:
        ValueError: If ``optimizer`` is no partial of a class, which a checkpoint could not name.
    """
    if not isinstance(optimizer, functools.partial):
        raise ValueError(
            f"optimizer {optimizer!r} is no functools.partial of an optimiser class, such as {PAPER_ADAMW}"
        )
    keywords = {}
    has_fused = "fused" in inspect.signature(partial_class(optimizer)).parameters
    is_open = optimizer.keywords.get("fused") is None and not optimizer.keywords.get("foreach")
    if fused and has_fused and is_open:
        keywords["fused"] = True
    try:
        built: Optimizer = optimizer(decay_groups(module), **keywords)
    except ValueError as error:
        raise ValueError(f"optimizer {partial_class(optimizer).__name__}: {error}") from None
    return built


class Schedule(HasSpec, ABC):
    """A learning rate over training, as a pure function of the step: nothing of it needs to be saved."""

    @abstractmethod
    def __call__(self, step: int, total_steps: int) -> float:
        """Factor on the learning rate for optimiser step ``step``, counted from 0."""


class WarmupCosine(Schedule):
    """Linear warm-up, then half a cosine to zero, by optimiser step.

    Args:
        warmup_steps: Steps until the full learning rate.
        final_factor: Factor on the learning rate at the end, 0-1.

    Raises:
        ValueError: If an argument is out of its range.

    Source: Radford et al. 2021, section 2.5; 2,000 warm-up steps: table 18.
    """

    def __init__(self, warmup_steps: int = 2000, final_factor: float = 0.0) -> None:
        if warmup_steps < 0:
            raise ValueError(f"warmup_steps {warmup_steps} is negative")
        if not 0 <= final_factor <= 1:
            raise ValueError(f"final_factor {final_factor} is not between 0 and 1")
        self.warmup_steps = warmup_steps
        self.final_factor = final_factor

    def __call__(self, step: int, total_steps: int) -> float:
        """Factor at a step; the step after the last one has ``final_factor``."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, total_steps - self.warmup_steps)
        cosine = (1 + math.cos(math.pi * min(1.0, progress))) / 2
        return self.final_factor + (1 - self.final_factor) * cosine
