"""Folders of the transformers library's ``CLIPModel``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from clip_lightning.interchange.archive import read_file
from clip_lightning.interchange.foreign import Foreign
from clip_lightning.interchange.keys import TRANSFORMERS
from clip_lightning.interchange.open_clip import find_weights, read_json

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")

_ACTIVATIONS = {"quick_gelu": True, "gelu": False}
_LAYER_NORM_EPS = 1e-5
_INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of what is called so here."""

_DEFAULTS = {"hidden_act": "quick_gelu", "layer_norm_eps": _LAYER_NORM_EPS}
_VISION_HEADS, _TEXT_HEADS = 12, 8
"""What a configuration means that leaves a setting out (transformers, models/clip/configuration_clip.py)."""


def read_transformers(folder: Path) -> Foreign:
    """Reads a folder as ``CLIPModel.from_pretrained`` takes it.

    Args:
        folder: Where ``config.json`` is.

    Returns:
        The weights.

    Raises:
        ValueError: If it holds another model than a ``CLIPModel``, or one with settings that the paper's do not have.
    """
    config = read_json(folder / CONFIG)
    if config.get("model_type") != "clip":
        raise ValueError(f"{folder / CONFIG} is of a model of type {config.get('model_type')!r}; 'clip' can be read")
    # Files of early versions have the towers' settings under a second name too, which wins in transformers.
    vision = {**_DEFAULTS, **(config.get("vision_config") or {}), **(config.get("vision_config_dict") or {})}
    text = {**_DEFAULTS, **(config.get("text_config") or {}), **(config.get("text_config_dict") or {})}
    weights = find_weights(folder, WEIGHT_FILES)
    tensors = {name: value for name, value in read_file(weights).data.items() if isinstance(value, Tensor)}
    return Foreign(
        str(weights),
        "transformers",
        TRANSFORMERS.to_ours({name: value for name, value in tensors.items() if not name.endswith("position_ids")}),
        quick_gelu=_activation(vision, text, folder),
        image_heads=int(vision.get("num_attention_heads", _VISION_HEADS)),
        text_heads=int(text.get("num_attention_heads", _TEXT_HEADS)),
        pixels=_pixels(folder / PREPROCESSOR),
    )


def _activation(vision: Mapping[str, Any], text: Mapping[str, Any], folder: Path) -> bool:
    """Whether both towers have QuickGELU, or neither.

    Raises:
        ValueError: If they have something else, or another LayerNorm.
    """
    acts, eps = {vision["hidden_act"], text["hidden_act"]}, {vision["layer_norm_eps"], text["layer_norm_eps"]}
    if len(acts) > 1 or not acts <= _ACTIVATIONS.keys() or eps != {_LAYER_NORM_EPS}:
        raise ValueError(
            f"{folder / CONFIG} has hidden_act {sorted(acts)} and layer_norm_eps {sorted(eps)}; models with quick_gelu "
            f"or gelu in both towers and {_LAYER_NORM_EPS} can be read"
        )
    return _ACTIVATIONS[acts.pop()]


def _pixels(path: Path) -> dict[str, Any]:
    """Arguments of ``Pixels`` but the size, of the image processor's configuration if there is one.

    Raises:
        ValueError: If it asks for what cannot be done.
    """
    if not path.is_file():
        return {}
    config = read_json(path)
    given = {name: tuple(config[f"image_{name}"]) for name in ("mean", "std") if f"image_{name}" in config}
    interpolation = _INTERPOLATIONS.get(config.get("resample", 3))
    if interpolation is None:
        raise ValueError(f"{path} asks for resample {config['resample']}; bilinear (2) and bicubic (3) can be done")
    # One side is that of the shorter edge; two are those of the whole image, which loses its aspect ratio.
    size = config.get("size")
    squashes = isinstance(size, dict) and "height" in size and not config.get("do_center_crop", True)
    return {"interpolation": interpolation, "resize": "squash" if squashes else "shortest", **given}
