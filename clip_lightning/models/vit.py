"""The paper's Vision Transformer."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clip_lightning.models.base import ImageEncoder, Pixels
from clip_lightning.models.layers import TransformerLayer, check_positive, drop_paths


class VisionTransformer(ImageEncoder):
    """A Vision Transformer with one more LayerNorm on the embedded patches, pooled by its class token.

    It starts as OpenAI's code does: class token and position embeddings with standard deviation ``width ** -0.5``,
    layers as torch makes them.

    Args:
        image_size: Side of the square input, in pixels.
        patch_size: Side of one patch, in pixels; must divide ``image_size``.
        width: Channels of each token, and of the output.
        depth: Number of transformer layers.
        num_heads: Attention heads; must divide ``width``.
        mlp_ratio: Hidden channels of the MLPs, as a multiple of ``width``.
        quick_gelu: Whether the activation is that of OpenAI's released weights and not the exact GELU.
        dropout: Probability, 0-1, of zeroing a channel of what a layer adds.
        drop_path: Probability, 0-1, that the last layer adds nothing to a sample; it grows linearly from the first.
        patch_dropout: Share of the patches, 0-1, that each image loses in training; a half makes a step almost twice
            as fast.
        pixels: Size and normalisation of the input; CLIP's own by default.

    Raises:
        ValueError: If ``patch_size`` does not divide ``image_size``, or ``num_heads`` ``width``, or a size or
            probability is out of its range.

    Source: Radford et al. 2021 (arXiv 2103.00020), section 2.4; patch dropout: Li et al. 2022 (arXiv 2212.00794),
        section 3.
    """

    def __init__(
        self,
        image_size: int,
        patch_size: int,
        width: int,
        depth: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        quick_gelu: bool = False,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        patch_dropout: float = 0.0,
        pixels: Pixels | None = None,
    ) -> None:
        check_positive(image_size=image_size, width=width, depth=depth)
        if patch_size < 1 or image_size % patch_size:
            raise ValueError(f"patch_size {patch_size} does not divide image_size {image_size}; change one of them")
        if not 0 <= patch_dropout < 1:
            raise ValueError(f"patch_dropout {patch_dropout} is no share below 1; FLIP takes 0.5 to 0.75")
        super().__init__(image_size=image_size, output_dim=width, pixels=pixels)
        self.patch_dropout = patch_dropout
        positions = (image_size // patch_size) ** 2 + 1
        self.patch_embedding = nn.Conv2d(3, width, patch_size, stride=patch_size, bias=False)
        self.class_token = nn.Parameter(torch.randn(width) * width**-0.5)
        self.position_embedding = nn.Parameter(torch.randn(positions, width) * width**-0.5)
        self.embedding_norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(
            TransformerLayer(
                width, num_heads, mlp_ratio=mlp_ratio, quick_gelu=quick_gelu, dropout=dropout, drop_path=probability
            )
            for probability in drop_paths(drop_path, depth)
        )
        self.output_norm = nn.LayerNorm(width)

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch output_dim"]:
        """Class token after the last layer, normalised."""
        patches = self.patch_embedding(image).flatten(2).mT
        class_token = self.class_token.expand(len(image), 1, -1)
        x = torch.cat([class_token, patches], dim=1) + self.position_embedding
        if self.training and self.patch_dropout > 0:
            x = drop_patches(x, self.patch_dropout)
        x = self.embedding_norm(x)
        for layer in self.layers:
            x = layer(x)
        pooled: Tensor = self.output_norm(x[:, 0])
        return pooled

    def blocks(self) -> Sequence[nn.Module]:
        """The transformer layers."""
        return tuple(self.layers)


def drop_patches(x: Float[Tensor, "batch tokens width"], share: float) -> Float[Tensor, "batch kept width"]:
    """The class token and a random choice of the patches, another one for each image.

    Args:
        x: Tokens, positions added, the class token first.
        share: Of the patches to lose, 0-1; at least one is kept.

    Source: Li et al. 2022 (arXiv 2212.00794), section 3.
    """
    patches = x.shape[1] - 1
    kept = max(1, round(patches * (1 - share)))
    chosen = torch.rand(len(x), patches, device=x.device).argsort(dim=1)[:, :kept] + 1
    rows = torch.arange(len(x), device=x.device)[:, None]
    return torch.cat([x[:, :1], x[rows, chosen]], dim=1)
