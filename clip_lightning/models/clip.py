"""The two-tower model: pixels and tokens into one space."""

import math
from typing import Literal, Self

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from clip_lightning.models.base import ImageEncoder, TextEncoder
from clip_lightning.models.layers import MLP, check_positive
from clip_lightning.models.lora import LoRA, add_lora
from clip_lightning.models.tuning import rest_what_is_locked
from clip_lightning.spec import HasSpec


class CLIP(nn.Module, HasSpec):
    """An image tower and a text tower, each projected into the shared space, and the temperature.

    Args:
        image_encoder: The image tower.
        text_encoder: The text tower; None where only images are encoded.
        embed_dim: Size of the shared space; the image tower's output where that is not projected.
        image_projection: What projects the image tower's output: True for a linear layer, "mlp" for two with a GELU
            between, False for none. The paper's ResNets project inside their attention pool already.
        image_lora: Adapters of the image tower, which are then all that is trained of it.
        text_lora: Adapters of the text tower.

    Attributes:
        logit_scale: Log of the factor on cosine similarities, from ``log(1 / 0.07)``.
        pixels: Size and normalisation of the images.

    Raises:
        ValueError: If ``embed_dim`` is missing or below 1, or is not the image tower's output and that is not
            projected; or adapters are asked for of a tower that is not there or cannot have them.

    Source: Radford et al. 2021 (arXiv 2103.00020), figure 3; temperature: section 2.5.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        image_encoder: ImageEncoder,
        text_encoder: TextEncoder | None,
        embed_dim: int | None = None,
        image_projection: bool | Literal["mlp"] = True,
        image_lora: LoRA | None = None,
        text_lora: LoRA | None = None,
    ) -> None:
        super().__init__()
        self.embed_dim = _embed_dim(image_encoder.output_dim, embed_dim, image_projection)
        self.pixels = image_encoder.pixels
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.image_projection: nn.Module | None = None
        if image_projection:
            project = _mlp_projection if image_projection == "mlp" else _projection
            self.image_projection = project(image_encoder.output_dim, self.embed_dim)
        self.text_projection = _projection(text_encoder.output_dim, self.embed_dim) if text_encoder else None
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.register_buffer("pixel_mean", torch.tensor(self.pixels.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(self.pixels.std).view(3, 1, 1), persistent=False)
        if image_lora is not None:
            add_lora(image_encoder, image_lora)
        if text_lora is not None:
            if text_encoder is None:
                raise ValueError(f"text_lora is {text_lora}, but there is no text_encoder; leave text_lora out")
            add_lora(text_encoder, text_lora)

    def train(self, mode: bool = True) -> Self:
        """Sets the mode; parts that are not trained stay in evaluation mode."""
        super().train(mode)
        if mode:
            rest_what_is_locked(self)
        return self

    def normalize(self, image: UInt8[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
        """Pixels as the image tower expects them.

        Args:
            image: Pixels, 0-255.

        Returns:
            Pixels less the mean over the standard deviation, in the model's precision.

        Raises:
            ValueError: If the pixels are not uint8: they may be normalised already.
        """
        if image.dtype != torch.uint8:
            raise ValueError(f"pixels are {image.dtype}; give uint8 in 0-255, or skip normalize if they are normalised")
        # In place: each copy of a batch takes a processor as long as a layer of a small model.
        return image.to(self.pixel_mean.dtype).div_(255).sub_(self.pixel_mean).div_(self.pixel_std)

    def encode_image(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch embed_dim"]:
        """Image features: projected, not of unit length.

        Args:
            image: Normalised pixels of ``pixels.size``.

        Returns:
            Features.

        Raises:
            ValueError: If the images have another size, or are not normalised.
        """
        return self.project_image(self.pool_image(image))

    def pool_image(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch output_dim"]:
        """What the image tower returns, before the projection into the shared space; arguments as ``encode_image``."""
        if not image.is_floating_point():
            raise ValueError(f"images are {image.dtype}; call normalize first: encode_image(normalize(image))")
        size = self.pixels.size
        if image.shape[2:] != (size, size):
            raise ValueError(
                f"images are {tuple(image.shape[2:])} pixels; this model takes ({size}, {size}): resize them"
            )
        pooled: Tensor = self.image_encoder(image)
        return pooled

    def project_image(self, image_pooled: Float[Tensor, "batch output_dim"]) -> Float[Tensor, "batch embed_dim"]:
        """Features of what the image tower returned; the same where the tower has its projection inside."""
        if self.image_projection is None:
            return image_pooled
        features: Tensor = self.image_projection(image_pooled)
        return features

    def encode_text(
        self, text: Int[Tensor, "batch tokens"], length: Int[Tensor, "batch"] | None = None
    ) -> Float[Tensor, "batch embed_dim"]:
        """Text features: projected, not of unit length.

        Args:
            text: Token ids, any number up to the context.
            length: Tokens of each text up to and with its end; if None, read off the ids by ``TextEncoder.lengths``.

        Returns:
            Features.

        Raises:
            ValueError: If there is no text tower, or the text is longer than its context.
        """
        if self.text_encoder is None or self.text_projection is None:
            raise ValueError("this model has no text encoder; give CLIP a text_encoder")
        if length is None:
            length = self.text_encoder.lengths(text)
        features: Tensor = self.text_projection(self.text_encoder(text, length))
        return features

    def forward(
        self,
        image: Float[Tensor, "batch 3 height width"],
        text: Int[Tensor, "texts tokens"],
        length: Int[Tensor, "texts"] | None = None,
    ) -> tuple[Float[Tensor, "batch embed_dim"], Float[Tensor, "texts embed_dim"]]:
        """Image features and text features, as ``encode_image`` and ``encode_text`` return them."""
        return self.encode_image(image), self.encode_text(text, length)

    @torch.no_grad()
    def cap_logit_scale_(self, max_multiplier: float = 100.0) -> None:
        """Lowers the temperature's factor to the maximum if it exceeds it, in place.

        Args:
            max_multiplier: Largest factor on cosine similarities.

        Source: Radford et al. 2021, section 2.5.
        """
        self.logit_scale.clamp_(max=math.log(max_multiplier))


def _embed_dim(output_dim: int, embed_dim: int | None, image_projection: bool | str) -> int:
    """Size of the shared space, which must be the image tower's output if that is not projected."""
    if image_projection not in (True, False, "mlp"):
        raise ValueError(f"image_projection {image_projection!r} is none of True, False and 'mlp'")
    if image_projection and embed_dim is None:
        raise ValueError(f"embed_dim is missing; image_projection needs it (image_encoder.output_dim is {output_dim})")
    embed_dim = output_dim if embed_dim is None else embed_dim
    check_positive(embed_dim=embed_dim)
    if not image_projection and embed_dim != output_dim:
        raise ValueError(
            f"image_encoder.output_dim {output_dim} is not embed_dim {embed_dim}; "
            "make them equal, or project with image_projection=True"
        )
    return embed_dim


def _projection(output_dim: int, embed_dim: int) -> nn.Linear:
    """A tower's linear map into the shared space."""
    projection = nn.Linear(output_dim, embed_dim, bias=False)
    nn.init.normal_(projection.weight, std=output_dim**-0.5)
    return projection


def _mlp_projection(output_dim: int, embed_dim: int) -> MLP:
    """A tower's map into the shared space by two layers, as open_clip has it for timm's models."""
    return MLP(output_dim, 2 * embed_dim, nn.GELU(), embed_dim)
