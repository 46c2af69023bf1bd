"""Low-rank adaptation of a tower, by the peft library (Hu et al. 2021, arXiv 2106.09685)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from clip_lightning.models.base import ImageEncoder, TextEncoder
from clip_lightning.spec import HasSpec

ADAPTERS = frozenset({"image_lora", "text_lora"})
"""Arguments that put adapters into a model, of ``CLIP`` and of whatever builds one."""


@dataclass(frozen=True)
class LoRA:
    """Trains two thin matrices beside each linear layer of a tower's blocks, and nothing else of the tower.

    A tower without linear layers, such as a ResNet, is adapted in its convolutions.

    Args:
        rank: Rows of the thin matrices, at least 1.
        alpha: What is added is scaled by ``alpha / rank``; above 0.
        dropout: Probability, 0-1, of zeroing an input of the thin matrices.

    Raises:
        ValueError: If a value is out of its range.

    Source: Hu et al. 2021 (arXiv 2106.09685), section 4.1.
    """

    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Refuses an empty matrix, and what would add nothing."""
        if self.rank < 1:
            raise ValueError(f"rank {self.rank} of LoRA is below 1; usual are 4 to 64")
        if self.alpha <= 0:
            raise ValueError(f"alpha {self.alpha} of LoRA is not above 0; usual are the rank or twice as much")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout} of LoRA is no probability from 0 to below 1")


def add_lora(tower: ImageEncoder | TextEncoder, lora: LoRA) -> None:
    """Puts adapters into a tower, which computes the same until they are trained.

    Args:
        tower: Changed in place; only its adapters stay trainable.
        lora: Their sizes.

    Raises:
        ValueError: If peft is not installed, or the tower has no layer to adapt.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError:
        raise ValueError("LoRA needs the package peft: pip install 'clip-lightning[lora]'") from None
    targets = _targets(tower)
    if not targets:
        raise ValueError(
            f"{type(tower).__name__} has no linear layer and no convolution in its blocks() that LoRA could adapt"
        )
    tower.requires_grad_(False)
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets)
    inject_adapter_in_model(config, tower)


def _targets(tower: ImageEncoder | TextEncoder) -> list[str]:
    """Names of the layers to adapt."""
    inside = {module for block in tower.blocks() for module in block.modules()}
    names = {module: name for name, module in tower.named_modules() if module in inside}
    # Exactly these classes: those that derive from them may read the weight without calling the layer.
    linear = [name for module, name in names.items() if type(module) is nn.Linear]
    return linear or [name for module, name in names.items() if type(module) is nn.Conv2d and module.groups == 1]


def merge_lora(model: nn.Module) -> None:
    """Adds what adapters have learned to the weights beside them, and removes the adapters.

    The model computes the same as before; its weights have the names that they have without adapters, and its
    specification names none.

    Args:
        model: A ``CLIP``, changed in place; one without adapters stays as it is.
    """
    for name, adapter in _adapters(model):
        adapter.merge()
        _put(model, name, adapter.get_base_layer())
    if isinstance(model, HasSpec):
        model._init_args |= dict.fromkeys(model._init_args.keys() & ADAPTERS)


@contextmanager
def without_adapters(model: nn.Module) -> Iterator[None]:
    """Meanwhile, a model has no adapters, and its weights have the names that they have without."""
    adapters = _adapters(model)
    for name, adapter in adapters:
        _put(model, name, adapter.get_base_layer())
    try:
        yield
    finally:
        for name, adapter in adapters:
            _put(model, name, adapter)


def _adapters(model: nn.Module) -> list[tuple[str, Any]]:
    """Layers that peft put in, with their names; they can be told without importing it."""
    return [(name, module) for name, module in model.named_modules() if hasattr(module, "get_base_layer")]


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
