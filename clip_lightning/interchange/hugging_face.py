"""Folders of the transformers library's ``CLIPModel``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from clip_lightning.interchange.configuration import Section, check_sizes, read_json, tensor_sizes
from clip_lightning.interchange.foreign import Foreign
from clip_lightning.interchange.keys import TRANSFORMERS
from clip_lightning.interchange.weight_files import INDEX, find_weights, read_weights

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
PROCESSOR = "processor_config.json"
"""What version 5 writes, with the settings of the other nested; where both are there, these count, as for it."""

WEIGHT_FILES = ("model.safetensors", f"model.safetensors{INDEX}", "pytorch_model.bin", f"pytorch_model.bin{INDEX}")

_ACTIVATIONS = {"quick_gelu": True, "gelu": False}
_LAYER_NORM_EPS = 1e-5
_INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of what is called so here."""

_IMAGE_SIZES = {"image_size": "image.image_size", "patch_size": "image.patch_size", "hidden_size": "image.width"}
_IMAGE_SIZES |= {"num_hidden_layers": "image.depth"}
_TEXT_SIZES = {"max_position_embeddings": "text.context_length", "vocab_size": "text.vocab_size"}
_TEXT_SIZES |= {"hidden_size": "text.width", "num_hidden_layers": "text.depth"}

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
    path = folder / CONFIG
    vision, text = (
        {**_DEFAULTS, **_object(config, f"{tower}_config", path), **_object(config, f"{tower}_config_dict", path)}
        for tower in ("vision", "text")
    )
    weights = find_weights(folder, WEIGHT_FILES)
    tensors = {name: value for name, value in read_weights(weights).items() if isinstance(value, Tensor)}
    ours = TRANSFORMERS.to_ours({name: value for name, value in tensors.items() if not name.endswith("position_ids")})
    told = {f"vision_config.{key}": (name, vision.get(key)) for key, name in _IMAGE_SIZES.items()}
    told |= {f"text_config.{key}": (name, text.get(key)) for key, name in _TEXT_SIZES.items()}
    check_sizes(told | {"projection_dim": ("embed_dim", config.get("projection_dim"))}, ours, path)
    return Foreign(
        str(weights),
        "transformers",
        ours,
        quick_gelu=_activation(vision, text, folder),
        image_heads=Section(vision, path, "vision_config.").number("num_attention_heads", _VISION_HEADS),
        text_heads=Section(text, path, "text_config.").number("num_attention_heads", _TEXT_HEADS),
        pixels=_pixels(folder, tensor_sizes(ours).get("image.image_size")),
    )


def _object(config: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    """What is under a key; nothing if it is not there.

    Raises:
        ValueError: If it is no JSON object.
    """
    value = config.get(key) or {}
    if not isinstance(value, dict):
        raise ValueError(f"{path} has {key} {value!r}, which is no JSON object; correct the file")
    return value


def _activation(vision: Mapping[str, Any], text: Mapping[str, Any], folder: Path) -> bool:
    """Whether both towers have QuickGELU, or neither.

    Raises:
        ValueError: If they have something else, or another LayerNorm.
    """
    acts = sorted({str(tower["hidden_act"]) for tower in (vision, text)})
    eps = [tower["layer_norm_eps"] for tower in (vision, text)]
    if len(acts) > 1 or acts[0] not in _ACTIVATIONS or eps != [_LAYER_NORM_EPS] * 2:
        raise ValueError(
            f"{folder / CONFIG} has hidden_act {acts} and layer_norm_eps {eps}; models with quick_gelu "
            f"or gelu in both towers and {_LAYER_NORM_EPS} can be read"
        )
    return _ACTIVATIONS[acts[0]]


def _pixels(folder: Path, image_size: int | None) -> dict[str, Any]:
    """Arguments of ``Pixels`` but the size, of the image processor's configuration if there is one.

    Args:
        folder: Where it is.
        image_size: Side of the images that the weights take.

    Raises:
        ValueError: If it asks for what cannot be done.
    """
    config, path = _image_processor(folder)
    section = Section(config, path)
    for step in ("do_resize", "do_rescale", "do_normalize"):
        if not section.flag(step, True):
            raise ValueError(f"{path} has {step} false; images are always resized, scaled to 0-1 and normalised here")
    scale = config.get("rescale_factor", 1 / 255)
    if type(scale) not in (int, float) or not abs(scale * 255 - 1) <= 1e-6:  # the file's may be rounded
        raise ValueError(f"{path} has rescale_factor {scale!r}; pixels are divided by 255 here")
    crops, size, crop = section.flag("do_center_crop", True), _sides(config, "size"), _sides(config, "crop_size")
    # One side is that of the shorter edge; two are those of the whole image, which loses its aspect ratio.
    squashes = size is not None and len(size) == 2
    if not crops and not squashes:
        raise ValueError(f"{path} has do_center_crop false, and no height and width as size; images are square here")
    sides = {"size": size, **({"crop_size": crop} if crops else {})}
    wrong = [name for name, found in sides.items() if found is not None and any(side != image_size for side in found)]
    if wrong and image_size is not None:
        named = " and ".join(f"{name} {config[name]!r}" for name in wrong)
        raise ValueError(
            f"{path} has {named}, and the weights take images of {image_size} pixels; only resizing to that size can "
            "be done here: correct the file if it is what you want"
        )
    given = {key.removeprefix("image_"): value for key, value in section.channels(("image_mean", "image_std")).items()}
    interpolation = _INTERPOLATIONS[section.choice("resample", 3, _INTERPOLATIONS)]
    return {"interpolation": interpolation, "resize": "squash" if squashes else "shortest", **given}


def _image_processor(folder: Path) -> tuple[dict[str, Any], Path]:
    """The image processor's configuration and its file; an empty one, which means CLIP's own, if there is no file."""
    if (path := folder / PROCESSOR).is_file() and (nested := _object(read_json(path), "image_processor", path)):
        return nested, path
    path = folder / PREPROCESSOR
    return read_json(path) if path.is_file() else {}, path


def _sides(config: Mapping[str, Any], key: str) -> tuple[Any, ...] | None:
    """The sides that a size names, in pixels: the shorter one, or height and width; None if there is no size."""
    size = config.get(key)
    if not isinstance(size, dict):  # The first configurations have a number.
        return None if size is None else (size,)
    return tuple(size[side] for side in ("shortest_edge", "height", "width") if size.get(side) is not None)
