"""From an encoded image to pixels."""

import io

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageFile, ImageOps
from torch import Tensor

from clip_lightning.data.base import Damaged

MAX_MEGAPIXELS = 64.0
_DEEP_MODES = frozenset({"I", "I;16", "I;16B", "I;16L"})
# A PNG names its transparent colour in its own depth; Pillow leaves that so, and makes the pixels 8 bits deep.
_TO_8_BIT = {"L;2": 85, "L;4": 17, "RGB;16B": 1 / 256}


def decode(
    image: bytes | np.ndarray | Image.Image, max_megapixels: float = MAX_MEGAPIXELS
) -> UInt8[Tensor, "3 height width"]:
    """RGB pixels of an image as it is meant to be seen.

    Transparency lies over white, EXIF orientation is applied, 16 bits become 8, and of an animation the first frame is
    taken.

    Args:
        image: An image file of any format that Pillow reads, a Pillow image, or pixels as uint8 [height, width, 3].
        max_megapixels: Larger images are refused by their header, before they take memory.

    Raises:
        Damaged: If it is no such image, with one of a few reasons.
    """
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise Damaged("pixels are not uint8 [height, width, 3]")
        if not image.size:
            raise Damaged("no pixels")
        # A copy where torch cannot share the memory: it warns of read-only arrays and refuses negative strides.
        shared = image.flags.writeable and min(image.strides) > 0
        return torch.from_numpy(image if shared else image.copy()).permute(2, 0, 1)
    try:
        opened = image if isinstance(image, Image.Image) else Image.open(io.BytesIO(image))
    except Image.DecompressionBombError:
        raise Damaged(_too_large(max_megapixels)) from None
    except Exception:  # Pillow's format readers raise whatever a broken header leads them to
        raise Damaged("not an image" if image else "empty file") from None
    if not opened.width * opened.height:
        raise Damaged("no pixels")
    if opened.width * opened.height > max_megapixels * 1e6:
        raise Damaged(_too_large(max_megapixels))
    try:
        return torch.from_numpy(np.array(_as_seen(opened))).permute(2, 0, 1)
    except Damaged:
        raise
    except Exception as error:  # as above
        raise Damaged("image data cannot be decoded") from error


def _too_large(max_megapixels: float) -> str:
    return f"more than {max_megapixels:g} megapixels"


def _as_seen(image: Image.Image) -> Image.Image:
    """Upright, without transparency, in RGB; no step copies an image that needs none of it."""
    _scale_transparent_colour(image)
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode == "F":
        raise Damaged("pixels are floating-point numbers, of which nothing says which is white")
    if image.mode in _DEEP_MODES:
        image = _to_8_bit(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _scale_transparent_colour(image: Image.Image) -> None:
    """Gives the one transparent colour that a PNG may name the depth of the pixels; to be called before these load."""
    colour = image.info.get("transparency")
    raw_mode = image.tile[0].args if isinstance(image, ImageFile.ImageFile) and image.tile else None
    if colour is None or not isinstance(raw_mode, str) or raw_mode not in _TO_8_BIT:
        return
    values = colour if isinstance(colour, tuple) else (colour,)
    scaled = tuple(int(value * _TO_8_BIT[raw_mode]) for value in values)
    image.info["transparency"] = scaled if isinstance(colour, tuple) else scaled[0]


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Grey of 16 bits scaled down; Pillow's own conversion clips it to white."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise Damaged("grey values of more than 16 bits")
    grey = (values // 257).astype(np.uint8)
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 255
    return Image.fromarray(grey)
