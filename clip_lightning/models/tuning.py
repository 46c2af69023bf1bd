"""How a tower is trained: which of its layers, how fast each, and with how much memory."""

import types
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from clip_lightning.models.base import ImageEncoder, TextEncoder
from clip_lightning.models.recomputation import recompute

Tower = ImageEncoder | TextEncoder


@dataclass(frozen=True)
class TowerTuning:
    """What is special about the training of one tower; by default nothing.

    Args:
        locked: Whether the tower stays as it starts. What is locked is in evaluation mode too: the statistics of its
            BatchNorm layers do not move, and it drops nothing.
        unlocked_blocks: How many of a locked tower's last layers, with what stands behind them, are trained all the
            same.
        lr_factor: Factor on the learning rate of the tower; the projections have the optimiser's own.
        layer_decay: Factor on the learning rate from each layer to the one before it, above 0 up to 1. What stands
            behind the last layer has the tower's own rate, and the embedding the lowest.
        gradient_checkpointing: Whether activations inside of a layer are computed again in the backward pass instead of
            being kept: the same gradients, a third more computation, a fraction of the memory.
        fixed_statistics: Whether BatchNorm layers normalise by the running statistics that they start with, in training
            too. Those of other images would move them, and with them what the tower does with all images.
        half_precision: Whether the weights are kept in bfloat16, and with them the gradients; the text tower's alone.
            They are trained by ``HalfPrecisionAdamW``, which rounds them stochastically.

    Raises:
        ValueError: If a value is out of its range, or layers are unlocked of a tower that is not locked.

    Source: locking: Zhai et al. 2021 (arXiv 2111.07991), section 4; layer-wise decay: Clark et al. 2020 (arXiv
        2003.10555), section 3.1; half precision: Radford et al. 2021, section 2.5.
    """

    locked: bool = False
    unlocked_blocks: int = 0
    lr_factor: float = 1.0
    layer_decay: float = 1.0
    gradient_checkpointing: bool = False
    fixed_statistics: bool = False
    half_precision: bool = False

    def __post_init__(self) -> None:
        """Refuses what has no meaning."""
        if self.unlocked_blocks < 0 or (self.unlocked_blocks and not self.locked):
            raise ValueError(
                f"unlocked_blocks {self.unlocked_blocks} needs locked true, and is at least 0; without locking, all "
                "layers are trained"
            )
        if self.lr_factor <= 0:
            raise ValueError(f"lr_factor {self.lr_factor} is not positive; to keep a tower as it is, use locked true")
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay {self.layer_decay} is not above 0 and up to 1; usual are 0.65 to 0.95")


def prepare(tower: Tower, tuning: TowerTuning) -> None:
    """Locks a tower, or its statistics, and has it save memory, as it is to be trained.

    Args:
        tower: Changed in place; its weights and their names are not.
        tuning: What to do.

    Raises:
        ValueError: If the tower has fewer layers than are to be unlocked, or says nothing of its layers; or an image
            tower is to have half precision.
    """
    if tuning.half_precision:
        _keep_in_half_precision(tower)
    if tuning.locked and not tuning.unlocked_blocks:
        tower.requires_grad_(False)
    elif tuning.locked:
        groups = parameters_by_depth(tower)
        depth = len(groups) - 2
        if tuning.unlocked_blocks > depth:
            raise ValueError(
                f"unlocked_blocks {tuning.unlocked_blocks}, but {type(tower).__name__} has {depth} layers; give less, "
                "or locked false"
            )
        for group in groups[: depth - tuning.unlocked_blocks + 1]:
            for parameter in group:
                parameter.requires_grad_(False)
    if tuning.fixed_statistics:
        _fix_statistics(tower)
    if tuning.gradient_checkpointing:
        parameters_by_depth(tower)
        recompute(tower.blocks())


def _fix_statistics(tower: Tower) -> None:
    """Keeps BatchNorm layers in evaluation mode, whatever mode the tower is put into."""
    for layer in tower.modules():
        if isinstance(layer, _BatchNorm):
            object.__setattr__(layer, "train", types.MethodType(_stay_in_evaluation, layer))
            layer.train()


def _stay_in_evaluation(layer: nn.Module, mode: bool = True) -> nn.Module:
    """In place of a layer's own ``train``."""
    return nn.Module.train(layer, False)


def _keep_in_half_precision(tower: Tower) -> None:
    """Converts a text tower's weights; what it returns is in single precision, as from other towers."""
    if isinstance(tower, ImageEncoder):
        raise ValueError(
            "half_precision is for the text tower alone; set text_tuning.half_precision, not image_tuning's"
        )
    for parameter in tower.parameters():
        parameter.data = parameter.data.to(torch.bfloat16)
    tower.register_forward_hook(lambda module, arguments, pooled: pooled.float())


def learning_rate_factors(tower: Tower, tuning: TowerTuning) -> dict[nn.Parameter, float]:
    """Factor on the learning rate of each parameter of a tower.

    Args:
        tower: The tower.
        tuning: How it is trained.

    Returns:
        Factors by parameter; those of 1 are left out.

    Raises:
        ValueError: If rates are to differ by layer, and the tower says nothing of its layers.
    """
    groups = parameters_by_depth(tower) if tuning.layer_decay < 1 else [list(tower.parameters())]
    factors: dict[nn.Parameter, float] = {}
    for height, group in enumerate(reversed(groups)):
        factor = tuning.lr_factor * tuning.layer_decay**height
        factors |= dict.fromkeys(group, factor) if factor != 1 else {}
    return factors


def parameters_by_depth(tower: Tower) -> list[list[nn.Parameter]]:
    """A tower's parameters from bottom to top: what stands before its layers, each layer's, what stands behind them.

    Raises:
        ValueError: If it says nothing of its layers.
    """
    blocks = tower.blocks()
    if not blocks:
        raise ValueError(
            f"{type(tower).__name__} says nothing of its layers, so none can be treated apart; give the class a method "
            "blocks() that returns them from first to last"
        )
    place = {parameter: depth for depth, block in enumerate(blocks, start=1) for parameter in block.parameters()}
    groups: list[list[nn.Parameter]] = [[] for _ in range(len(blocks) + 2)]
    outside = 0
    for parameter in tower.parameters():
        if parameter in place:
            outside = len(blocks) + 1
        groups[place.get(parameter, outside)].append(parameter)
    return groups


def rest_what_is_locked(module: nn.Module) -> None:
    """Puts every part of which no parameter is trained into evaluation mode.

    Args:
        module: In training mode.
    """
    parameters = list(module.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        module.eval()
        return
    for child in module.children():
        rest_what_is_locked(child)
