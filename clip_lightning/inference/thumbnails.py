"""Single images that are looked at again: read by the name that was noted, and made small."""

import os
from pathlib import Path

import torch.nn.functional as F
from jaxtyping import UInt8
from numpy import ndarray as NDArray

from clip_lightning.data import Damaged, decode
from clip_lightning.data.manifest import read_image
from clip_lightning.data.tar import members
from clip_lightning.inference.images import SHARD


def open_image(file: Path, key: str) -> bytes:
    """The bytes of an image by what ``FoundImages.file`` and ``key`` say of it.

    Raises:
        Damaged: If it is no longer there, or cannot be read.
    """
    if file.suffix.lower() != SHARD:
        return read_image(file)
    try:
        with file.open("rb") as shard:
            for member in members(shard.fileno(), file):
                if member.name == key:
                    return os.pread(shard.fileno(), member.size, member.offset)
    except (OSError, ValueError):
        raise Damaged("shard cannot be read") from None
    raise Damaged("the shard no longer has it")


def thumbnail(image: bytes | NDArray, side: int = 256) -> UInt8[NDArray, "height width 3"]:
    """A whole image, made small enough to be drawn beside many others.

    Args:
        image: As ``decode`` takes it.
        side: The longer side of what is returned, at most.

    Raises:
        Damaged: If it cannot be decoded.
    """
    pixels = decode(image)
    height, width = pixels.shape[-2:]
    scale = side / max(height, width)
    if scale < 1:
        size = max(round(height * scale), 1), max(round(width * scale), 1)
        pixels = F.interpolate(pixels[None], size, mode="bicubic", antialias=True)[0]
    return pixels.permute(1, 2, 0).numpy()
