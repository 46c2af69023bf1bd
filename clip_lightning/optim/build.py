"""The optimiser over the decay groups, made from what a configuration names."""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from clip_lightning.optim.groups import decay_groups, with_hidden_apart
from clip_lightning.optim.half_precision import HalfPrecisionAdamW
from clip_lightning.spec import partial_class

OptimizerCallable = Callable[[Iterable[Any]], Optimizer]

PAPER_ADAMW = functools.partial(torch.optim.AdamW, lr=5e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2)
"""The paper's optimiser for Vision Transformers (Radford et al. 2021, tables 18-20); ResNets have betas (0.9, 0.999)
and eps 1e-8."""


def build_optimizer(
    optimizer: OptimizerCallable,
    module: nn.Module,
    *,
    fused: bool,
    lr_factors: Mapping[nn.Parameter, float] = {},
) -> Optimizer:
    """Makes the optimiser over the module's decay groups; for Muon, what are no hidden matrices is in groups apart.

    Args:
        optimizer: A ``functools.partial`` of an optimiser class, as the command line makes of a ``class_path``.
        module: What is trained.
        fused: Whether to prefer the fused kernel where the class has one and the configuration does not say.
        lr_factors: Factor on the learning rate by parameter; 1 where it is not named.

    Returns:
        The optimiser.

    Raises:
        ValueError: If ``optimizer`` is no partial of a class, which a checkpoint could not name; or the class refuses
            its settings or the parameters.
    """
    if not isinstance(optimizer, functools.partial):
        raise ValueError(
            f"optimizer {optimizer!r} is no functools.partial of an optimiser class, such as {PAPER_ADAMW}"
        )
    cls = partial_class(optimizer)
    if cls is torch.optim.Muon:
        raise ValueError("optimizer torch.optim.Muon updates matrices alone; timm.optim.Muon has AdamW for the rest")
    groups = decay_groups(module, lr_factors)
    if _is_muon(cls):
        groups = with_hidden_apart(groups, module)
    keywords = {}
    has_fused = "fused" in inspect.signature(cls).parameters
    is_open = optimizer.keywords.get("fused") is None and not optimizer.keywords.get("foreach")
    if fused and has_fused and is_open:
        keywords["fused"] = True
    try:
        built: Optimizer = optimizer(groups, **keywords)
    except ValueError as error:
        raise ValueError(f"optimizer {cls.__name__}: {error}") from None
    for group in built.param_groups:
        if group["lr"] is None:
            raise ValueError(f"optimizer {cls.__name__} has no lr of its own, which schedules scale; give it one")
        group["lr"] *= group.pop("lr_factor", 1.0)
    return built


def check_rounding(setting: str, optimizer: OptimizerCallable) -> None:
    """Refuses an optimiser that would round weights in half precision to nearest: most updates would be lost.

    At a usual learning rate the temperature and the gains of norms, which are near to 1, would never move.

    Args:
        setting: What keeps weights in half precision, for the message.
        optimizer: As for ``build_optimizer``.

    Raises:
        ValueError: With the optimiser that does not.
    """
    cls = partial_class(optimizer) if isinstance(optimizer, functools.partial) else HalfPrecisionAdamW
    if not issubclass(cls, HalfPrecisionAdamW):
        raise ValueError(
            f"{setting}, but {cls.__name__} would lose updates that are smaller than the weights' last place; use the "
            "optimizer clip_lightning.optim.HalfPrecisionAdamW"
        )


def _is_muon(cls: type) -> bool:
    """Whether an optimiser is timm's Muon, or made of it; timm need not be imported to know."""
    return any(base.__module__ == "timm.optim.muon" and base.__name__ == "Muon" for base in cls.__mro__)
