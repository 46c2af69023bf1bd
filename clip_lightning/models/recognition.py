"""The sizes of a CLIP, read off its tensors."""

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

Sizes = dict[str, Any]

_VIT_LETTERS = {(192, 12): "Ti", (384, 12): "S", (768, 12): "B", (1024, 24): "L", (1280, 32): "H"}
_RESNETS = {
    ((3, 4, 6, 3), 64): "RN50",
    ((3, 4, 23, 3), 64): "RN101",
    ((4, 6, 10, 6), 80): "RN50x4",
    ((6, 8, 18, 8), 96): "RN50x16",
    ((3, 15, 36, 10), 128): "RN50x64",
}
"""Names of the published sizes (Dosovitskiy et al. 2021, table 1; Radford et al. 2021, tables 19 and 20)."""


def vit_sizes(tensors: Mapping[str, Tensor]) -> Sizes | None:
    """Arguments of ``VisionTransformer`` but its heads and activation, or None if the image tower is none.

    Args:
        tensors: Weights of a ``CLIP`` by name.
    """
    patches = _of_axes(4, tensors.get("image_encoder.patch_embedding.weight"))
    positions = _of_axes(2, tensors.get("image_encoder.position_embedding"))
    hidden = _of_axes(2, tensors.get("image_encoder.layers.0.mlp.expand.weight"))
    if patches is None or positions is None or hidden is None:
        return None
    width, patch_size = patches.shape[0], patches.shape[-1]
    return {
        "image_size": math.isqrt(max(len(positions) - 1, 0)) * patch_size,
        "patch_size": patch_size,
        "width": width,
        "depth": _depth(tensors, r"image_encoder\.layers\.(\d+)\."),
        "mlp_ratio": _ratio(len(hidden), width),
    }


def resnet_sizes(tensors: Mapping[str, Tensor]) -> Sizes | None:
    """Arguments of ``ModifiedResNet`` but its heads, or None if the image tower is none.

    Args:
        tensors: Weights of a ``CLIP`` by name.
    """
    stem = _of_axes(4, tensors.get("image_encoder.stem.conv3.weight"))
    positions = _of_axes(2, tensors.get("image_encoder.attention_pool.position_embedding"))
    output = _of_axes(2, tensors.get("image_encoder.attention_pool.out_projection.weight"))
    if stem is None or positions is None or output is None:
        return None
    stages = _depth(tensors, r"image_encoder\.stages\.(\d+)\.")
    return {
        "image_size": math.isqrt(max(len(positions) - 1, 0)) * 4 * 2 ** (stages - 1),
        "blocks": [_depth(tensors, rf"image_encoder\.stages\.{stage}\.(\d+)\.") for stage in range(stages)],
        "output_dim": len(output),
        "width": len(stem),
    }


def text_sizes(tensors: Mapping[str, Tensor]) -> Sizes | None:
    """Arguments of ``TextTransformer`` but its heads and activation, or None if the text tower is none.

    Args:
        tensors: Weights of a ``CLIP`` by name.
    """
    tokens = _of_axes(2, tensors.get("text_encoder.token_embedding.weight"))
    positions = _of_axes(2, tensors.get("text_encoder.position_embedding"))
    if tokens is None or positions is None:
        return None
    return {
        "context_length": len(positions),
        "vocab_size": len(tokens),
        "width": tokens.shape[1],
        "depth": _depth(tensors, r"text_encoder\.layers\.(\d+)\."),
    }


def describe(tensors: Mapping[str, Tensor]) -> str | None:
    """What a model is, in a few words: "a ViT-B/32 of 224 pixels with a text tower of 12 layers of 512".

    Args:
        tensors: Weights of a ``CLIP`` by name.

    Returns:
        The words, or None if its towers are not the paper's.
    """
    image, text = _image_name(tensors), text_sizes(tensors)
    if image is None or text is None:
        return None
    return (
        f"{image} with a text tower of {text['depth']} layers of {text['width']}, "
        f"{text['context_length']} tokens and {text['vocab_size']:,} ids"
    )


def _image_name(tensors: Mapping[str, Tensor]) -> str | None:
    if (vit := vit_sizes(tensors)) is not None:
        letter = _VIT_LETTERS.get((vit["width"], vit["depth"]))
        name = f"ViT-{letter}/{vit['patch_size']}" if letter else f"ViT/{vit['patch_size']}"
        sizes = "" if letter else f", {vit['depth']} layers of {vit['width']}"
        return f"a {name} of {vit['image_size']} pixels{sizes}"
    if (resnet := resnet_sizes(tensors)) is not None:
        blocks = tuple(resnet["blocks"])
        name = _RESNETS.get((blocks, resnet["width"]), f"ResNet with blocks {blocks}, width {resnet['width']}")
        return f"a {name} of {resnet['image_size']} pixels"
    return None


def _of_axes(axes: int, tensor: Tensor | None) -> Tensor | None:
    """The tensor, if it is one of so many axes and has values; sizes cannot be read off another."""
    return tensor if tensor is not None and tensor.ndim == axes and tensor.numel() else None


def _ratio(hidden: int, width: int) -> float:
    """The multiple of the width that gives the hidden channels, of which a layer drops the fraction."""
    ratio = hidden / width
    return ratio if int(ratio * width) == hidden else (hidden + 0.5) / width


def _depth(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """How many numbers a pattern finds in the names."""
    return len({found[1] for name in tensors if (found := re.match(pattern, name))})
