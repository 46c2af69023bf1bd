"""From an image of any size to the square that an encoder takes; uint8 in and out."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

import numpy as np
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from clip_lightning.spec import HasSpec
from clip_lightning.text import Tokenizer

if TYPE_CHECKING:
    from clip_lightning.models.base import Pixels

Interpolation = Literal["bicubic", "bilinear"]
Resize = Literal["shortest", "squash"]


class Transform(HasSpec, ABC):
    """Makes a square of any image.

    Attributes:
        size: Side of the square, in pixels.
    """

    size: int

    @abstractmethod
    def __call__(
        self, image: UInt8[Tensor, "3 height width"], generator: np.random.Generator | None = None
    ) -> UInt8[Tensor, "3 size size"]:
        """The square.

        Args:
            image: Pixels of any size.
            generator: The only source of chance; what needs none ignores it.
        """


class View(NamedTuple):
    """How a further version of each pair is made, such as the one that a teacher sees.

    Args:
        transform: Makes the square; it draws as that of the first version does.
        tokenizer: Makes the tokens.
    """

    transform: Transform
    tokenizer: Tokenizer


class RandomSquareCrop(Transform):
    """A random square of the image, resized: CLIP's only augmentation.

    Args:
        size: Side of the result, in pixels.
        scale: Range of the square's side as a fraction of the image's shorter side, in (0, 1]. (1, 1) is the paper's:
            resize the shorter side, then crop a random square.
        interpolation: How pixels are interpolated, always with antialiasing.

    Raises:
        ValueError: If ``size`` or ``scale`` is out of range.

    Source: Radford et al. 2021, section 2.3 ("a random square crop from resized images").
    """

    def __init__(
        self, size: int, scale: tuple[float, float] = (0.9, 1.0), interpolation: Interpolation = "bicubic"
    ) -> None:
        low, high = scale
        if not 0 < low <= high <= 1:
            raise ValueError(f"scale {tuple(scale)} must be two fractions with 0 < low <= high <= 1")
        self.size = _checked(size)
        self._low, self._high = low, high
        self._interpolation = interpolation

    def __call__(
        self, image: UInt8[Tensor, "3 height width"], generator: np.random.Generator | None = None
    ) -> UInt8[Tensor, "3 size size"]:
        """A square at a place and of a side that the generator draws; without one, at the centre and the largest."""
        height, width = image.shape[-2:]
        shorter = min(height, width)
        if self._low == 1.0 and height == width:
            return _resized(image, self.size, self.size, self._interpolation)
        if generator is None:
            side, top, left = round(self._high * shorter), 0.5, 0.5
        else:
            fraction, top, left = generator.random(3).tolist()
            side = round((self._low + fraction * (self._high - self._low)) * shorter)
        side = max(side, 1)
        square = _cropped(image, side, int(top * (height - side + 1)), int(left * (width - side + 1)))
        return _resized(square, self.size, self.size, self._interpolation)


class CenterCrop(Transform):
    """The square in the middle, for evaluation.

    Args:
        size: Side of the result, in pixels.
        interpolation: How pixels are interpolated, always with antialiasing.
        resize: "shortest" scales the shorter side to ``size`` and crops, "squash" ignores the aspect ratio.

    Raises:
        ValueError: If ``size`` or ``resize`` is out of range.
    """

    def __init__(self, size: int, interpolation: Interpolation = "bicubic", resize: Resize = "shortest") -> None:
        if resize not in ("shortest", "squash"):
            raise ValueError(f'resize {resize!r} must be "shortest" or "squash"')
        self.size = _checked(size)
        self._interpolation = interpolation
        self._squash = resize == "squash"

    @classmethod
    def of(cls, pixels: "Pixels") -> Self:
        """The crop that a model's image encoder expects."""
        return cls(pixels.size, pixels.interpolation, pixels.resize)

    def __call__(
        self, image: UInt8[Tensor, "3 height width"], generator: np.random.Generator | None = None
    ) -> UInt8[Tensor, "3 size size"]:
        """The square, the same every time."""
        height, width = image.shape[-2:]
        if self._squash or height == width:
            return _resized(image, self.size, self.size, self._interpolation)
        # Resized before it is cropped, and rounded, as torchvision does it, so that pixels agree with published models.
        shorter = min(height, width)
        image = _resized(image, self.size * height // shorter, self.size * width // shorter, self._interpolation)
        height, width = image.shape[-2:]
        return _cropped(image, self.size, round((height - self.size) / 2), round((width - self.size) / 2))


def _checked(size: int) -> int:
    if size < 1:
        raise ValueError(f"size {size} must be 1 pixel at least")
    return size


def _cropped(image: UInt8[Tensor, "3 height width"], side: int, top: int, left: int) -> UInt8[Tensor, "3 side side"]:
    return image[:, top : top + side, left : left + side]


def _resized(
    image: UInt8[Tensor, "3 height width"], height: int, width: int, interpolation: Interpolation
) -> UInt8[Tensor, "3 height width"]:
    """Resized with antialiasing, as ``torchvision.transforms.v2`` does, whose call costs more than a small image."""
    if image.shape[-2:] == (height, width):
        return image
    return F.interpolate(image[None], (height, width), mode=interpolation, antialias=True)[0]
