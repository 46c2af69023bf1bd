"""Which parameters decay, which have a learning rate of their own, and which are matrices of hidden layers."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

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


def with_hidden_apart(groups: list[dict[str, Any]], module: nn.Module) -> list[dict[str, Any]]:
    """Splits decay groups once more, for an optimiser that is meant for matrices between hidden layers alone.

    What is hidden are the decaying parameters of the layers that a tower names in ``blocks()``: no embedding, no
    convolution that pixels enter, no projection out of a tower, no gain or bias.

    Args:
        groups: As ``decay_groups`` returns them.
        module: The model they are of.

    Returns:
        The groups; those of other parameters say "use_fallback" (timm's word), and empty ones are left out.

    Raises:
        ValueError: If a tower says nothing of its layers.

    Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".
    """
    hidden = set(_parameters_of_layers(module))
    split = []
    for group in groups:
        decays = "weight_decay" not in group
        inside = [parameter for parameter in group["params"] if decays and parameter in hidden]
        outside = [parameter for parameter in group["params"] if not (decays and parameter in hidden)]
        split += [{**group, "params": inside}, {**group, "params": outside, "use_fallback": True}]
    return [group for group in split if group["params"]]


def _parameters_of_layers(module: nn.Module) -> Iterator[nn.Parameter]:
    """Parameters of the layers that parts of a model name."""
    for part in module.modules():
        blocks = getattr(part, "blocks", None)
        if inspect.ismethod(blocks):  # In timm's models, an attribute of this name holds the layers themselves.
            layers = blocks()
            if not layers and any(parameter.requires_grad for parameter in part.parameters()):
                raise ValueError(
                    f"{type(part).__name__} says nothing of its layers, so which matrices are hidden is not known; "
                    "give the class a method blocks() that returns them from first to last"
                )
            for layer in layers:
                yield from layer.parameters()
