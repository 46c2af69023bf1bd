"""The paper's text transformer."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clip_lightning.models.base import TextEncoder
from clip_lightning.models.layers import TransformerLayer, check_positive, drop_paths


class TextTransformer(TextEncoder):
    """A causal transformer in GPT-2's style, pooled at the end-of-text token; it starts as OpenAI's code does.

    Args:
        context_length: Longest text, in tokens.
        vocab_size: Number of token ids.
        width: Channels of each token, and of the output.
        depth: Number of transformer layers.
        num_heads: Attention heads; must divide ``width``.
        quick_gelu: Whether the activation is that of OpenAI's released weights and not the exact GELU.
        dropout: Probability, 0-1, of zeroing a channel of what a layer adds.
        drop_path: Probability, 0-1, that the last layer adds nothing to a sample; it grows linearly from the first.

    Raises:
        ValueError: If ``num_heads`` does not divide ``width``, or a size or probability is out of its range.

    Source: Radford et al. 2021 (arXiv 2103.00020), section 2.4.
    """

    def __init__(
        self,
        context_length: int,
        vocab_size: int,
        width: int,
        depth: int,
        num_heads: int,
        quick_gelu: bool = False,
        dropout: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        check_positive(context_length=context_length, vocab_size=vocab_size, width=width, depth=depth)
        super().__init__(context_length=context_length, vocab_size=vocab_size, output_dim=width)
        self.token_embedding = nn.Embedding(vocab_size, width)
        self.position_embedding = nn.Parameter(torch.empty(context_length, width))
        layers = [
            TransformerLayer(
                width, num_heads, quick_gelu=quick_gelu, dropout=dropout, drop_path=probability, causal=True
            )
            for probability in drop_paths(drop_path, depth)
        ]
        self.layers = nn.ModuleList(layers)
        self.output_norm = nn.LayerNorm(width)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.position_embedding, std=0.01)
        for layer in layers:
            initialize_layer(layer, width, depth)

    def forward(
        self, text: Int[Tensor, "batch tokens"], length: Int[Tensor, "batch"]
    ) -> Float[Tensor, "batch output_dim"]:
        """The last token of each text after the last layer, normalised.

        Raises:
            ValueError: If the text is longer than the context.
        """
        tokens = text.shape[1]
        if tokens > self.context_length:
            raise ValueError(f"text of {tokens} tokens, but context_length is {self.context_length}; cut it")
        x = self.token_embedding(text) + self.position_embedding[:tokens]
        for layer in self.layers:
            x = layer(x)
        rows = torch.arange(len(text), device=text.device)
        pooled: Tensor = self.output_norm(x[rows, length - 1])
        return pooled

    def blocks(self) -> Sequence[nn.Module]:
        """The transformer layers."""
        return tuple(self.layers)


def initialize_layer(layer: TransformerLayer, width: int, depth: int) -> None:
    """Draws a layer's weights by GPT-2's scheme: smaller with depth where a layer adds to its input.

    Args:
        layer: Changed in place.
        width: Channels of a token.
        depth: Number of layers of its tower.
    """
    residual_std = width**-0.5 * (2 * depth) ** -0.5
    nn.init.normal_(layer.attention.in_projection.weight, std=width**-0.5)
    nn.init.normal_(layer.attention.out_projection.weight, std=residual_std)
    nn.init.normal_(layer.mlp.expand.weight, std=(2 * width) ** -0.5)
    nn.init.normal_(layer.mlp.contract.weight, std=residual_std)
