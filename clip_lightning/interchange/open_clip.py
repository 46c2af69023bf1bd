"""Folders of open_clip: ``open_clip_config.json`` and weights beside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from clip_lightning.interchange import timm_tower
from clip_lightning.interchange.archive import read_file
from clip_lightning.interchange.configuration import Section, check_sizes, read_json
from clip_lightning.interchange.foreign import HEAD_WIDTH, Foreign
from clip_lightning.interchange.keys import OPEN_CLIP_TIMM
from clip_lightning.interchange.openai import layout_of, state_dict_of
from clip_lightning.interchange.weight_files import find_weights

CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"
WEIGHT_FILES = (WEIGHTS, "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
"""Names that open_clip gives weights (open_clip/constants.py), the safest first."""

_ALWAYS = {"pool_type": ("tok", "argmax"), "pos_embed_type": ("learnable",), "proj_type": ("linear",)}
_VISION = {"image_size", "layers", "width", "head_width", "mlp_ratio", "patch_size", "patch_dropout"}
_TEXT = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio", "eos_id"}
_TIMM = {timm_tower.NAME, "image_size", "patch_dropout", "timm_drop_path", "timm_proj_bias"}
_UNUSED = {"attn_pooler_queries", "attn_pooler_heads", "timm_pool", "timm_proj", "timm_drop", "hf_proj_type"}
_UNUSED |= {"hf_pooler_type", "hf_model_pretrained", "timm_model_pretrained", "block_type", "output_tokens"}
_IMAGE_SIZES = {"image_size": "image.image_size", "patch_size": "image.patch_size", "width": "image.width"}
_IMAGE_SIZES |= {"layers": "image.depth"}
_TEXT_SIZES = {"context_length": "text.context_length", "vocab_size": "text.vocab_size", "width": "text.width"}
_TEXT_SIZES |= {"layers": "text.depth"}
_MODEL = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "custom_text", "init_logit_scale"}


def read_open_clip(folder: Path, weights: Path | None = None) -> Foreign:
    """Reads a folder as open_clip's ``local-dir:`` takes it.

    Args:
        folder: Where ``open_clip_config.json`` is.
        weights: The file of the weights; the first one of open_clip's names in the folder by default.

    Returns:
        The weights.

    Raises:
        ValueError: If there are no weights, or the configuration asks for what the paper's models do not have.
    """
    config = read_json(folder / CONFIG)
    model = config.get("model_cfg")
    if not isinstance(model, dict) or not all(isinstance(model.get(of), dict) for of in ("vision_cfg", "text_cfg")):
        raise ValueError(f"{folder / CONFIG} describes no model: it lacks model_cfg with vision_cfg and text_cfg")
    vision, text = model["vision_cfg"], model["text_cfg"]
    is_timm = bool(vision.get(timm_tower.NAME))
    others = [*_others(model, _MODEL, ""), *_others(text, _TEXT, "text_cfg.")]
    others += _others(vision, _TIMM | _VISION if is_timm else _VISION, "vision_cfg.")
    path = folder / CONFIG
    if others:
        raise ValueError(
            f"{path} describes a model that is none of the paper's and cannot be read: it has {', '.join(others[:10])}"
        )
    weights = weights or find_weights(folder, WEIGHT_FILES)
    tensors = state_dict_of(read_file(weights).data)
    words = Section(text, path, "model_cfg.text_cfg.")
    common: dict[str, Any] = {
        "quick_gelu": Section(model, path, "model_cfg.").flag("quick_gelu", False),
        "text_heads": words.number("heads", 8),
        "pixels": _pixels(config.get("preprocess_cfg") or {}, path),
    }
    of_image = (_timm_tower if is_timm else _papers_tower)(model, tensors, path)
    return Foreign(str(weights), "open_clip", **common, **of_image)


def _papers_tower(model: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """The weights, and the heads of an image tower of the paper.

    Raises:
        ValueError: If the configuration is not of these weights.
    """
    vision = Section(model["vision_cfg"], path, "model_cfg.vision_cfg.")
    ours = layout_of(tensors).to_ours(tensors)
    told = {f"{vision.prefix}{key}": (name, vision.values.get(key)) for key, name in _IMAGE_SIZES.items()}
    if "image_size" in vision.values:
        told[f"{vision.prefix}image_size"] = ("image.image_size", vision.side("image_size", 224))
    if isinstance(layers := vision.values.get("layers"), list):
        told[f"{vision.prefix}layers"] = ("image.blocks", layers)
    check_sizes(told | _told(model), ours, path)
    channels = vision.number("width", 768)
    if "patch_size" not in vision.values or isinstance(layers, list):
        channels *= 32  # of the last stage of a ResNet, which the attention pool works on
    return {"tensors": ours, "image_heads": max(1, channels // vision.number("head_width", HEAD_WIDTH))}


def _timm_tower(model: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """The weights, and an image tower of timm.

    Raises:
        ValueError: If the configuration is not of these weights, or cannot be followed.
    """
    vision = Section(model["vision_cfg"], path, "model_cfg.vision_cfg.")
    embed_dim = Section(model, path, "model_cfg.").number("embed_dim", 0)
    ours = timm_tower.with_bias(OPEN_CLIP_TIMM.to_ours(tensors))
    check_sizes(_told(model), ours, path)
    arguments, projection = timm_tower.read_timm_tower(vision, embed_dim)
    said = []
    if rate := vision.rate("timm_drop"):
        said.append(f"timm_drop {rate}, which acts in training alone, is left out")
    return {"tensors": ours, "timm": arguments, "image_projection": projection, "said": said}


def _told(model: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """Sizes that a configuration has beside the image tower's, and what they are called of the weights."""
    told = {f"model_cfg.text_cfg.{key}": (name, model["text_cfg"].get(key)) for key, name in _TEXT_SIZES.items()}
    return told | {"model_cfg.embed_dim": ("embed_dim", model.get("embed_dim"))}


def _others(config: Mapping[str, Any], known: set[str], prefix: str) -> list[str]:
    """Settings that change the model from the paper's."""
    others = {name: value for name, value in config.items() if name not in known | _UNUSED}
    return [
        f"{prefix}{name} {value!r}" for name, value in others.items() if value and value not in _ALWAYS.get(name, ())
    ]


def _pixels(config: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Arguments of ``Pixels`` but the size.

    Raises:
        ValueError: If it asks for what cannot be done.
    """
    if not isinstance(config, Mapping):
        raise ValueError(f"{path} has preprocess_cfg {config!r}, which is no JSON object; correct the file")
    section = Section(config, path, "preprocess_cfg.")
    return {
        "resize": section.choice("resize_mode", "shortest", ("shortest", "squash")),
        "interpolation": section.choice("interpolation", "bicubic", ("bicubic", "bilinear")),
        **section.channels(("mean", "std")),
    }
