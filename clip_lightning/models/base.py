"""The two contracts of a tower: what CLIP and the task ask of an image encoder and of a text encoder."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor, nn

from clip_lightning.spec import HasSpec

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Pixels:
    """What an image encoder expects of its input; plain data, saved in every checkpoint.

    Args:
        size: Side of the square input, in pixels.
        mean: Mean of the red, green and blue channel that is subtracted, with pixels in 0-1.
        std: Standard deviation of each channel to divide by, with pixels in 0-1.
        interpolation: How images are resized.
        resize: "shortest" scales the shorter side to ``size`` and crops, "squash" ignores the aspect ratio.

    Source: mean and std of OpenAI's released CLIP models.
    """

    size: int
    mean: Triple = (0.48145466, 0.4578275, 0.40821073)
    std: Triple = (0.26862954, 0.26130258, 0.27577711)
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize: Literal["shortest", "squash"] = "shortest"

    def __post_init__(self) -> None:
        """Makes tuples of the lists that JSON and YAML have, so that equal values are equal."""
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "std", tuple(self.std))


class ImageEncoder(nn.Module, HasSpec, ABC):
    """Base of an image tower. A new one is one class in any file, named in a config by its ``class_path``.

    Args:
        image_size: Side of the square input, in pixels.
        output_dim: Channels of the pooled output.
        pixels: Size and normalisation of the input; CLIP's own by default.

    Raises:
        ValueError: If ``pixels.size`` is not ``image_size``.
    """

    def __init__(self, *, image_size: int, output_dim: int, pixels: Pixels | None = None) -> None:
        super().__init__()
        self.image_size = image_size
        self.output_dim = output_dim
        self.pixels = pixels or Pixels(size=image_size)
        if self.pixels.size != image_size:
            raise ValueError(f"pixels.size {self.pixels.size} is not image_size {image_size}; give one size")

    @abstractmethod
    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch output_dim"]:
        """Normalised pixels to pooled features (the paper's I_f, figure 3)."""

    def blocks(self) -> Sequence[nn.Module]:
        """Its layers from the first to the last, for whatever treats depth by layers (``models.tuning``).

        Parameters that are registered before the first block's are the stem, those behind it and in no block the head.
        """
        return ()


class TextEncoder(nn.Module, HasSpec, ABC):
    """Base of a text tower.

    Args:
        context_length: Longest text, in tokens.
        vocab_size: Number of token ids.
        output_dim: Channels of the pooled output.
    """

    def __init__(self, *, context_length: int, vocab_size: int, output_dim: int) -> None:
        super().__init__()
        self.context_length = context_length
        self.vocab_size = vocab_size
        self.output_dim = output_dim

    @abstractmethod
    def forward(
        self, text: Int[Tensor, "batch tokens"], length: Int[Tensor, "batch"]
    ) -> Float[Tensor, "batch output_dim"]:
        """Token ids to pooled features (T_f); any number of tokens up to the context, pooled at ``length - 1``."""

    def lengths(self, text: Int[Tensor, "batch tokens"]) -> Int[Tensor, "batch"]:
        """Tokens of each text up to and with its end, which has the largest id, as in CLIP's vocabulary."""
        return text.argmax(dim=-1) + 1

    def blocks(self) -> Sequence[nn.Module]:
        """Its layers from the first to the last, as in ``ImageEncoder.blocks``."""
        return ()
