"""What no tensor tells of a model, its activations, heads and pixels: compared between weights and what takes them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clip_lightning.interchange.foreign import HEAD_WIDTH, Foreign
from clip_lightning.models import CLIP, HFTextEncoder, ModifiedResNet, Pixels, TimmImageEncoder, VisionTransformer
from clip_lightning.models.layers import QuickGELU, SelfAttention, TransformerLayer
from clip_lightning.models.modified_resnet import EXPANSION, AttentionPool

Settings = dict[str, Any]
"""Values by their keys, such as "image_encoder.num_heads"."""

_WITH_CLIPS_PIXELS = [f"{tower.__module__}.{tower.__qualname__}" for tower in (VisionTransformer, ModifiedResNet)]
"""Towers that have CLIP's own pixels where they are given none."""

_TIMM = f"{TimmImageEncoder.__module__}.{TimmImageEncoder.__qualname__}"

_PIXELS = ("mean", "std", "interpolation", "resize")


def settings_of(model: CLIP) -> Settings:
    """Activations and heads of a model's towers, how they are pooled, timm's name of one, and how pixels are prepared.

    Args:
        model: Any; a tower without the paper's layers has no settings of them, and one of the paper's no others.
    """
    found: Settings = {}
    for name, tower in (("image_encoder", model.image_encoder), ("text_encoder", model.text_encoder)):
        if isinstance(tower, TimmImageEncoder):
            found[f"{name}.name"] = _architecture(tower._init_args["name"])
        if isinstance(tower, TimmImageEncoder | HFTextEncoder):
            found[f"{name}.pooling"] = tower.pooling
        for module in () if tower is None else tower.modules():
            if isinstance(module, TransformerLayer):
                found[f"{name}.quick_gelu"] = isinstance(module.mlp.activation, QuickGELU)
            if isinstance(module, SelfAttention | AttentionPool):
                found[f"{name}.num_heads"] = module.num_heads
    return found | _pixels(model.pixels)


def settings_of_foreign(foreign: Foreign, model: CLIP) -> Settings:
    """What is known of foreign weights.

    Args:
        foreign: The weights.
        model: One whose tensors have the same shapes, for the widths that heads follow from.
    """
    if foreign.quick_gelu is None:  # Nothing but tensors: nobody knows.
        return {}
    found: Settings = {f"{name}.quick_gelu": foreign.quick_gelu for name in ("image_encoder", "text_encoder")}
    heads = {"image_encoder": foreign.image_heads, "text_encoder": foreign.text_heads}
    for name, width in _widths(model).items():
        found[f"{name}.num_heads"] = heads[name] or max(1, width // HEAD_WIDTH)
    if foreign.timm is not None:
        found["image_encoder.name"] = _architecture(foreign.timm["name"])
        found["image_encoder.pooling"] = foreign.timm["pooling"]
    return found | _pixels(Pixels(size=model.pixels.size, **foreign.pixels))


def settings_of_description(task: Mapping[str, Any]) -> Settings:
    """What a checkpoint of this package says of its towers; nothing is built for it.

    Args:
        task: The description of a task, as ``spec_of`` gives it.
    """
    found: Settings = {}
    for name in ("image_encoder", "text_encoder"):
        tower = task["init_args"].get(name) or {}
        given = tower.get("init_args", {})
        if tower.get("class_path") == _TIMM:
            found[f"{name}.name"] = _architecture(given["name"])
        found |= {f"{name}.{key}": given[key] for key in ("quick_gelu", "pooling") if key in given}
        heads = given.get("num_heads")
        if heads is None and "blocks" in given:  # ModifiedResNet's own default
            heads = max(1, given["width"] * 2 ** (len(given["blocks"]) - 1) * EXPANSION // HEAD_WIDTH)
        if heads is not None:
            found[f"{name}.num_heads"] = heads
        if isinstance(pixels := given.get("pixels"), Mapping):
            found |= _pixels(Pixels(**pixels["init_args"]))
        elif tower.get("class_path") in _WITH_CLIPS_PIXELS:
            found |= _pixels(Pixels(size=given["image_size"]))
    return found


def check_settings(found: Settings, model: CLIP, path: str) -> list[str]:
    """Compares what is known of weights with the model that is to take them.

    Args:
        found: Of the weights.
        model: The model, as configured.
        path: Where the weights are, for messages.

    Returns:
        For pixels that are prepared otherwise, what to say of them.

    Raises:
        ValueError: If the weights were trained with other activations or heads: the model would compute something else.
    """
    configured = settings_of(model)
    differing = [key for key in found if key in configured and found[key] != configured[key]]
    wrong = [key for key in differing if not key.startswith("image_encoder.pixels.")]
    if wrong:
        values = "; ".join(
            f"was trained with {key.partition('.')[2]} {found[key]}, and the model has {key.partition('.')[2]} "
            f"{configured[key]} in its {key.partition('.')[0]}"
            for key in wrong
        )
        remedy = ", ".join(f"model.{key.replace('.', '.init_args.')} to {found[key]}" for key in wrong)
        raise ValueError(f"{path!r} {values}; set {remedy}")
    return [
        f"the weights were trained with pixels of {key.rpartition('.')[2]} {found[key]}, and the model has "
        f"{configured[key]}; to have the weights', set model.image_encoder.init_args.pixels"
        for key in differing
    ]


def check_activation(model: CLIP, given: bool | None, path: str | Path) -> None:
    """Refuses an activation that a user gives for a model which describes its own.

    Args:
        model: As it was described.
        given: What the user says of ``quick_gelu``, if anything.
        path: Where it came from, for the message.

    Raises:
        ValueError: If the model has another, or none.
    """
    has = {value for key, value in settings_of(model).items() if key.endswith(".quick_gelu")}
    if given is not None and has != {given}:
        said = " and ".join(map(str, sorted(has))) or "in none of its layers"
        raise ValueError(f"{str(path)!r} says that quick_gelu is {said}, but {given} was asked for; leave it out")


def taken_as_configured(model: CLIP) -> list[str]:
    """What to say where weights are tensors alone: the activation, and heads that the paper's models do not have.

    Args:
        model: The model, as configured.
    """
    configured = settings_of(model)
    quick = {value for key, value in configured.items() if key.endswith(".quick_gelu")}
    has_quick = " and ".join(map(str, sorted(quick))) or "in no layer"
    return [
        f"the file does not say its activation, taken as configured: quick_gelu is {has_quick}",
    ] + [
        f"the file does not say its heads, taken as configured: {name}.num_heads is "
        f"{configured[f'{name}.num_heads']}; the paper's models have one for each {HEAD_WIDTH} of {width} channels"
        for name, width in _widths(model).items()
        if configured[f"{name}.num_heads"] != max(1, width // HEAD_WIDTH)
    ]


def _architecture(name: str) -> str:
    """The name of a model of timm without the tag of the weights that it once started from."""
    return name.partition(".")[0]


def _widths(model: CLIP) -> dict[str, int]:
    """Channels that the heads of each tower share."""
    towers = (("image_encoder", model.image_encoder), ("text_encoder", model.text_encoder))
    return {
        name: int(module.out_projection.in_features)
        for name, tower in towers
        if tower is not None
        for module in tower.modules()
        if isinstance(module, SelfAttention | AttentionPool)
    }


def _pixels(pixels: Pixels) -> Settings:
    return {f"image_encoder.pixels.{name}": getattr(pixels, name) for name in _PIXELS}
