"""Which parameters decay, which optimiser updates them, and how the learning rate goes."""

import functools
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
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


def decay_groups(module: nn.Module, lr_factors: Mapping[nn.Parameter, float] = {}) -> list[dict[str, Any]]:
    """Splits trainable parameters into those with weight decay and those without, and by their learning rates.

    Matrices and convolution kernels decay. Gains, biases, class tokens, position embeddings, the temperature, and what
    a module lists in ``no_weight_decay()`` (timm's convention) do not.

    Args:
        module: The model, and whatever else is trained with it.
        lr_factors: Factor on the learning rate by parameter; 1 where it is not named.

    Returns:
        Two parameter groups for each factor, largest factors first; the second sets ``weight_decay`` to 0. Those with
        another factor than 1 name it as "lr_factor". Groups of such factors are left out where they are empty.

    Source: Radford et al. 2021, section 2.5 (all weights that are not gains or biases).
    """
    excluded = _excluded_names(module)
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {(1.0, True): [], (1.0, False): []}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            is_matrix = parameter.squeeze().ndim >= 2
            is_position = name.rpartition(".")[2] in POSITION_NAMES
            decays = is_matrix and not is_position and name not in excluded
            groups.setdefault((lr_factors.get(parameter, 1.0), decays), []).append(parameter)
    return [
        {
            "params": groups[factor, decays],
            **({} if decays else {"weight_decay": 0.0}),
            **({} if factor == 1 else {"lr_factor": factor}),
        }
        for factor, decays in sorted(groups, reverse=True)
    ]


def _excluded_names(module: nn.Module) -> set[str]:
    """Full names of the parameters that submodules list in ``no_weight_decay()``."""
    names = set()
    for prefix, part in module.named_modules():
        listed = getattr(part, "no_weight_decay", None)
        if callable(listed):
            names |= {f"{prefix}.{name}" if prefix else name for name in listed()}
    return names


def build_optimizer(
    optimizer: OptimizerCallable,
    module: nn.Module,
    *,
    fused: bool,
    lr_factors: Mapping[nn.Parameter, float] = {},
) -> Optimizer:
    """Makes the optimiser over the module's decay groups.

    Args:
        optimizer: A ``functools.partial`` of an optimiser class, as the command line makes of a ``class_path``.
        module: What is trained.
        fused: Whether to prefer the fused kernel where the class has one and the configuration does not say.
        lr_factors: Factor on the learning rate by parameter; 1 where it is not named.

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
        built: Optimizer = optimizer(decay_groups(module, lr_factors), **keywords)
    except ValueError as error:
        raise ValueError(f"optimizer {partial_class(optimizer).__name__}: {error}") from None
    for group in built.param_groups:
        group["lr"] *= group.pop("lr_factor", 1.0)
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
