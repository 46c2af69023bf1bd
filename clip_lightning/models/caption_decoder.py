"""A causal transformer that says how probable a text is of an image."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from clip_lightning.models.layers import TransformerLayer, check_positive
from clip_lightning.models.text_transformer import initialize_layer


class CaptionDecoder(nn.Module):
    """A causal transformer over a prefix that is made of an image's features, and the tokens of a text behind it.

    The features become ``prefix_length`` tokens by a linear layer, and the last of these predicts the first token of
    the text. So any image tower will do, and whatever is compared with this objective sees the image through the same
    features. Tokens are predicted by their own embeddings.

    Args:
        feature_dim: Channels of the image's features.
        vocab_size: Number of token ids.
        context_length: Longest text, in tokens.
        width: Channels of each token.
        depth: Number of transformer layers.
        num_heads: Attention heads; must divide ``width``.
        prefix_length: Tokens that an image becomes.
        dropout: Probability, 0-1, of zeroing a channel of what a layer adds.

    Raises:
        ValueError: If ``num_heads`` does not divide ``width``, or a size or probability is out of its range.

    Source: an image as a prefix: Mokady et al. 2021 (arXiv 2111.09734), section 3; output by the input's embeddings:
        Press and Wolf 2017 (arXiv 1608.05859).
    """

    def __init__(
        self,
        feature_dim: int,
        vocab_size: int,
        context_length: int,
        *,
        width: int,
        depth: int,
        num_heads: int,
        prefix_length: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_positive(width=width, depth=depth, prefix_length=prefix_length)
        self.prefix_length = prefix_length
        self.prefix = nn.Linear(feature_dim, prefix_length * width)
        self.token_embedding = nn.Embedding(vocab_size, width)
        self.position_embedding = nn.Parameter(torch.empty(prefix_length + context_length - 1, width))
        self.layers = nn.ModuleList(
            TransformerLayer(width, num_heads, dropout=dropout, causal=True) for _ in range(depth)
        )
        self.output_norm = nn.LayerNorm(width)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.position_embedding, std=0.01)
        for layer in self.layers:
            assert isinstance(layer, TransformerLayer)
            initialize_layer(layer, width, depth)

    def forward(
        self,
        features: Float[Tensor, "batch feature_dim"],
        text: Int[Tensor, "batch tokens"],
        length: Int[Tensor, "batch"],
    ) -> Float[Tensor, "batch"]:
        """Log-probability of each text, start and end included, given its image.

        Args:
            features: Of the images.
            text: Token ids, any number up to the context.
            length: Tokens of each text up to and with its end.

        Returns:
            Sums over the tokens of each text, in nats; at least fp32.
        """
        prefix = self.prefix(features).unflatten(1, (self.prefix_length, -1))
        x = torch.cat([prefix, self.token_embedding(text[:, :-1])], dim=1)
        x = x + self.position_embedding[: x.shape[1]]
        for layer in self.layers:
            x = layer(x)
        logits = F.linear(self.output_norm(x[:, self.prefix_length - 1 :]), self.token_embedding.weight)
        if logits.dtype != torch.float64:
            logits = logits.float()
        losses = F.cross_entropy(logits.flatten(0, 1), text.flatten(), reduction="none").view_as(text)
        is_text = torch.arange(text.shape[1], device=text.device) < length[:, None]
        return -(losses * is_text).sum(dim=1)
