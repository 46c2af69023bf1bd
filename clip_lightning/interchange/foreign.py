"""Weights from elsewhere, of the paper's architecture or with an image tower of timm, and the model that they make."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from clip_lightning.checkpoint import check_weights
from clip_lightning.interchange.configuration import check_layers
from clip_lightning.models import (
    CLIP,
    ImageEncoder,
    ModifiedResNet,
    Pixels,
    TextTransformer,
    TimmImageEncoder,
    VisionTransformer,
)
from clip_lightning.models.positions import fit_positions
from clip_lightning.models.recognition import resnet_sizes, text_sizes, vit_sizes

HEAD_WIDTH = 64
"""Channels of an attention head in the paper's models, whose tensors do not tell (Radford et al. 2021, table 20)."""


@dataclass(frozen=True)
class Foreign:
    """Weights and what was said of them.

    Args:
        path: Where they were, for messages.
        format: What they were read from.
        tensors: The weights in this package's names.
        quick_gelu: Whether the activation is ``QuickGELU``; None if nothing says so.
        image_heads: Attention heads of the image tower, or of its pool; by the width of a head if nothing says so.
        text_heads: Attention heads of the text tower; likewise.
        pixels: Arguments of ``Pixels`` but the size; CLIP's own where there are none.
        timm: Arguments of ``TimmImageEncoder`` but the pixels; None where the image tower is one of the paper's.
        image_projection: What projects the output of an image tower of timm, as ``CLIP`` takes it.
        said: What the user is to know of how they were read.
    """

    path: str
    format: str
    tensors: Mapping[str, Tensor]
    quick_gelu: bool | None
    image_heads: int | None = None
    text_heads: int | None = None
    pixels: Mapping[str, Any] = field(default_factory=dict)
    timm: Mapping[str, Any] | None = None
    image_projection: bool | Literal["mlp"] = True
    said: Sequence[str] = ()


def activation_of(foreign: Foreign, given: bool | None) -> bool:
    """Whether the weights' activation is ``QuickGELU``: as they say, or as the user does where they say nothing.

    Args:
        foreign: The weights.
        given: What the user says.

    Raises:
        ValueError: If nobody says so, or the user says something else than the weights.
    """
    if foreign.quick_gelu is None and given is None:
        raise ValueError(
            f"{foreign.path!r} does not say which activation its weights were trained with, and the other one gives "
            "worse features without any error; give quick_gelu=True for OpenAI's weights and models whose name ends "
            "in -quickgelu, quick_gelu=False for others"
        )
    if None not in (foreign.quick_gelu, given) and foreign.quick_gelu != given:
        raise ValueError(
            f"{foreign.path!r} says that quick_gelu is {foreign.quick_gelu}, but {given} was asked for; leave it out"
        )
    return bool(given if foreign.quick_gelu is None else foreign.quick_gelu)


def build_model(
    foreign: Foreign, *, image_size: int | None, context_length: int | None, quick_gelu: bool | None
) -> tuple[CLIP, list[str]]:
    """The model of foreign weights.

    Args:
        foreign: The weights.
        image_size: Side of the images, in pixels, if it is to be another than the weights'.
        context_length: Longest text, in tokens, if it is to be another than the weights'.
        quick_gelu: The activation, where the weights do not say it.

    Returns:
        The model in evaluation mode and float32, and what to say of its positions.

    Raises:
        ValueError: If the tensors are not those of the paper's architecture, or a size does not fit.
    """
    quick = activation_of(foreign, quick_gelu)
    check_layers(foreign.tensors, foreign.path)
    sizes, projection = text_sizes(foreign.tensors), foreign.tensors.get("text_projection.weight")
    image = _image_tower(foreign, image_size, quick)
    if image is None or sizes is None or projection is None or projection.ndim != 2:
        shapes = [f"{name} {tuple(tensor.shape)}" for name, tensor in list(foreign.tensors.items())[:10]]
        raise ValueError(
            f"{foreign.path!r} ({foreign.format}) holds no CLIP of the paper's architecture; its tensors: "
            f"{', '.join(shapes)}, {len(foreign.tensors)} in all"
        )
    sizes["context_length"] = context_length or sizes["context_length"]
    with torch.device("meta"):  # The weights take the place of these tensors, which need no values.
        heads = foreign.text_heads or max(1, sizes["width"] // HEAD_WIDTH)
        text = TextTransformer(**sizes, num_heads=heads, quick_gelu=quick)
    is_projected = isinstance(image, VisionTransformer) if foreign.timm is None else foreign.image_projection
    model = CLIP(image, text, embed_dim=len(projection), image_projection=is_projected)
    tensors, said = fit_positions(foreign.tensors, model.state_dict())
    check_weights(model.state_dict(), tensors, foreign.path)
    model.load_state_dict(_as_in(tensors, model), assign=True)
    return model.eval(), [*foreign.said, *said]


def _image_tower(foreign: Foreign, image_size: int | None, quick_gelu: bool) -> ImageEncoder | None:
    """The image tower, without values where its weights tell its sizes; None if they are of no known one.

    Args:
        foreign: The weights.
        image_size: Side of the images, in pixels, if it is to be another than the weights'.
        quick_gelu: The paper's activation.
    """
    if foreign.timm is not None:
        size = image_size or foreign.timm["image_size"]
        # On the CPU: what timm's models compute for themselves, such as tables of positions, is in no file.
        return TimmImageEncoder(**{**foreign.timm, "image_size": size, "pixels": Pixels(size=size, **foreign.pixels)})
    sizes = vit_sizes(foreign.tensors) or resnet_sizes(foreign.tensors)
    if sizes is None:
        return None
    sizes["image_size"] = image_size or sizes["image_size"]
    pixels = Pixels(size=sizes["image_size"], **foreign.pixels)
    with torch.device("meta"):
        if "patch_size" not in sizes:
            return ModifiedResNet(**sizes, num_heads=foreign.image_heads, pixels=pixels)
        heads = foreign.image_heads or max(1, sizes["width"] // HEAD_WIDTH)
        return VisionTransformer(**sizes, num_heads=heads, quick_gelu=quick_gelu, pixels=pixels)


def _as_in(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The tensors in the model's precisions, each in memory of its own."""
    wanted = model.state_dict()
    return {name: torch.empty_like(tensor, dtype=wanted[name].dtype).copy_(tensor) for name, tensor in tensors.items()}
