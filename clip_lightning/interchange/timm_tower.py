"""Image towers of timm as open_clip describes and builds them.

Source: open_clip, timm_model.py: timm's model, which is called the trunk, and behind it a head that may be empty.
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from clip_lightning.interchange.configuration import Section
from clip_lightning.models import TimmImageEncoder
from clip_lightning.models.timm_encoder import own_pooling

NAME = "timm_model_name"

_POOLINGS = {"average": "avg", "cls": "token"}
"""Ours that a trunk can have in place of its own, and what timm calls them."""

_HEADS = ("linear", "mlp")
"""Values of ``timm_proj`` that are layers behind the trunk; "" is the trunk's own classifier, and "none" is nothing."""


Projection = bool | Literal["mlp"]
"""``image_projection`` of a ``CLIP``."""


def read_timm_tower(vision: Section, embed_dim: int) -> tuple[dict[str, Any], Projection]:
    """The tower that a configuration describes.

    Args:
        vision: ``vision_cfg``.
        embed_dim: Size of the shared space.

    Returns:
        Arguments of ``TimmImageEncoder`` but its pixels, and what projects its output.

    Raises:
        ValueError: If timm has no such model, or it is pooled or projected as cannot be done here.
    """
    name, pool, head = vision.text(NAME), vision.text("timm_pool", "avg"), vision.text("timm_proj", "linear")
    vision.choice("timm_proj", "linear", (*_HEADS, "none", "", None))
    if head == "linear" and vision.flag("timm_proj_bias", False):
        raise ValueError(
            f"{vision.path} has {vision.prefix}timm_proj_bias true, and cannot be read: a linear projection has no "
            "bias here"
        )
    try:
        own = own_pooling(name)
    except ValueError as error:
        raise ValueError(f"{vision.path} has {vision.prefix}{NAME} {name!r}, and cannot be read: {error}") from None
    others = [ours for ours, theirs in _POOLINGS.items() if theirs == pool and head in _HEADS]
    pooling = "own" if pool == own or (head in _HEADS and not pool) else next(iter(others), None)
    if pooling is None:
        raise ValueError(
            f"{vision.path} has {vision.prefix}timm_pool {pool!r} with timm_proj {head!r}, and cannot be read: timm's "
            f"{name!r} has the pooling {own!r}, and beside it 'avg' and 'token' are known before 'linear' and 'mlp'"
        )
    arguments: dict[str, Any] = {
        "name": name,
        "image_size": vision.side("image_size", 224),
        "pooling": pooling,
        "drop_path": vision.rate("timm_drop_path"),
        "patch_dropout": vision.rate("patch_dropout") or 0.0,
        "projection_dim": None if head else embed_dim,
    }
    if pooling != "own":
        check_trunk(TimmImageEncoder(**arguments).eval(), head)
    return arguments, "mlp" if head == "mlp" else head == "linear"


def describe_timm_tower(encoder: TimmImageEncoder, projection: Projection) -> dict[str, Any]:
    """``vision_cfg`` of a tower, from which open_clip is known to make the same.

    Args:
        encoder: The tower, in evaluation mode and on the CPU.
        projection: The model's ``image_projection``.

    Raises:
        ValueError: If open_clip would make another.
    """
    given = encoder._init_args
    head = {True: "linear", "mlp": "mlp", False: "none" if given["projection_dim"] is None else ""}[projection]
    if head in _HEADS and given["projection_dim"] is not None:
        raise ValueError(
            f"open_clip has no place for both projection_dim {given['projection_dim']} and image_projection "
            f"{projection!r}; safetensors, onnx and torch_export have"
        )
    vision = {"image_size": encoder.image_size, NAME: given["name"], "timm_model_pretrained": False}
    vision |= {"timm_pool": _pool_of(encoder, head), "timm_proj": head}
    vision |= {} if given["drop_path"] is None else {"timm_drop_path": given["drop_path"]}
    vision |= {"patch_dropout": given["patch_dropout"]} if given["patch_dropout"] else {}
    check_trunk(encoder, head)
    return vision


def check_trunk(encoder: TimmImageEncoder, head: str) -> None:
    """Makes sure that open_clip's trunk computes what a tower does: it is built, and compared on an image.

    Args:
        encoder: The tower, in evaluation mode and on the CPU.
        head: ``timm_proj``.

    Raises:
        ValueError: If it has other weights, channels, images or features.
    """
    import timm

    name, size = encoder._init_args["name"], encoder.image_size
    settings: Any = timm.get_pretrained_cfg(name)
    made = settings.input_size[-1]
    if settings.fixed_input_size and made != size:
        raise ValueError(
            f"open_clip makes timm's {name!r} for images of {made} pixels alone, and this model takes {size}; give "
            f"image_size {made}, or export to safetensors, onnx or torch_export"
        )
    trunk = _trunk(encoder, head)
    if head in _HEADS and trunk.num_features != encoder.output_dim:
        raise ValueError(
            f"open_clip projects {trunk.num_features} channels of timm's {name!r}, which returns {encoder.output_dim}: "
            "it cannot load the model; safetensors, onnx and torch_export have a place for it"
        )
    image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    try:
        trunk.load_state_dict(encoder.model.state_dict())
        with torch.no_grad():
            mine, theirs = encoder(image), trunk(image)
        is_same = mine.shape == theirs.shape and bool((mine - theirs).norm() <= 1e-4 * theirs.norm())
    except RuntimeError:  # PyTorch's word for weights that are missing, unknown or of another shape.
        is_same = False
    if not is_same:
        raise ValueError(
            f"open_clip makes another model of timm's {name!r} with pooling {encoder.pooling!r} and timm_proj "
            f"{head!r}; safetensors, onnx and torch_export have a place for it"
        )


def _trunk(encoder: TimmImageEncoder, head: str) -> Any:
    """Timm's model with random weights, in evaluation mode, made step by step as open_clip makes it."""
    import timm

    name, pool, drop_path = encoder._init_args["name"], _pool_of(encoder, head), encoder._init_args["drop_path"]
    options = {} if drop_path is None else {"drop_path_rate": drop_path}
    if head in _HEADS:
        model: Any = timm.create_model(name, **options)
        model.reset_classifier(0, **({"global_pool": pool} if pool else {}))
        return model.eval()
    classes = 0 if head == "none" else encoder.output_dim
    return timm.create_model(name, num_classes=classes, global_pool=pool, **options).eval()


def _pool_of(encoder: TimmImageEncoder, head: str) -> str:
    """``timm_pool``, of which "" is the model's own where a head follows, and none at all elsewhere.

    Raises:
        ValueError: If there is none for the tower.
    """
    pool = _POOLINGS.get(encoder.pooling)
    if encoder.pooling == "own":
        pool = "" if head in _HEADS else own_pooling(encoder._init_args["name"])
    if pool is None:
        raise ValueError(
            f"open_clip has no place for pooling {encoder.pooling!r} of timm's {encoder._init_args['name']!r}; "
            "safetensors, onnx and torch_export have"
        )
    return pool


def with_bias(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights whose projection by two layers ends with a bias of zeros, where open_clip's has none."""
    weight, bias = tensors.get("image_projection.contract.weight"), "image_projection.contract.bias"
    return dict(tensors) if weight is None or bias in tensors else {**tensors, bias: weight.new_zeros(len(weight))}


def without_bias(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same the other way round: a bias of nothing but zeros is left out."""
    return {
        name: tensor
        for name, tensor in tensors.items()
        if name != "image_projection.contract.bias" or bool(tensor.any())
    }
