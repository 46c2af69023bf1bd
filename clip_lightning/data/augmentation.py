"""torchvision's augmentations after the crop, drawing from the sample's own random stream."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from clip_lightning.data.transforms import Transform

if TYPE_CHECKING:
    from torchvision.transforms import v2


_TRIALS = 8


class Augmented(Transform):
    """A crop, and what is done to the square after it.

    Augmentations draw from PyTorch's generator, as torchvision's do. Meanwhile it is seeded by the sample's generator,
    and afterwards it stands where it stood: an augmented sample depends neither on the worker that makes it nor on
    what was drawn before, and the model draws what it would have drawn. That costs 7 microseconds a sample.

    Args:
        transform: Makes the square.
        augmentations: Applied to it one after another, on uint8; they keep its size.

    Raises:
        ValueError: If an augmentation cannot be applied to a square, or changes its size or type.
    """

    def __init__(self, transform: Transform, augmentations: Sequence["v2.Transform"]) -> None:
        self.size = transform.size
        self._transform = transform
        self._augmentations = list(augmentations)
        # Tried out here, before training: a worker could not tell the user's mistake from its own. Several times, since
        # many are applied only sometimes.
        for seed in range(_TRIALS):
            self._augmented(torch.zeros((3, self.size, self.size), dtype=torch.uint8), seed)

    def __call__(
        self, image: UInt8[Tensor, "3 height width"], generator: np.random.Generator | None = None
    ) -> UInt8[Tensor, "3 size size"]:
        """The square, augmented as the generator draws; without one, as it is."""
        square = self._transform(image, generator)
        if generator is None:
            return square
        # A copy, since an augmentation may work in place, and the source may have lent its own memory.
        return self._augmented(square.clone(), int(generator.integers(2**63)))

    def _augmented(self, square: UInt8[Tensor, "3 size size"], seed: int) -> UInt8[Tensor, "3 size size"]:
        """The square after all augmentations, which draw from a stream of their own."""
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed, which would seed the GPUs as well.
            torch.default_generator.manual_seed(seed)
            for augmentation in self._augmentations:
                square = self._applied(augmentation, square)
        return square

    def _applied(self, augmentation: "v2.Transform", square: UInt8[Tensor, "3 size size"]) -> Tensor:
        try:
            found = augmentation(square)
        except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
            reason = f"{type(error).__name__}: {error}"
        else:
            if isinstance(found, Tensor) and found.dtype == torch.uint8 and found.shape == square.shape:
                return found
            reason = f"it makes {_described(found)} of {_described(square)}"
        raise ValueError(
            f"augmentation {augmentation} cannot be used: {reason}; augmentations take a square of {self.size} pixels "
            "as uint8, and return one"
        )


def _described(value: object) -> str:
    """Type and shape, for messages."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return type(value).__name__
