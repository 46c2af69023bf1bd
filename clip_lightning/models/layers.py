"""What the transformers of both towers are made of."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class QuickGELU(nn.Module):
    """The sigmoid approximation of GELU, with which OpenAI's released CLIP models were trained.

    Source: Hendrycks and Gimpel 2016 (arXiv 1606.08415), section 2.
    """

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Each value times the sigmoid of 1.702 times it."""
        return x * torch.sigmoid(1.702 * x)


class SelfAttention(nn.Module):
    """Multi-head self-attention with queries, keys and values from one projection, in this order.

    Args:
        width: Channels of a token.
        num_heads: Heads; must divide ``width``.
        causal: Whether a token sees only itself and those before it.

    Raises:
        ValueError: If ``num_heads`` does not divide ``width``.
    """

    def __init__(self, width: int, num_heads: int, causal: bool = False) -> None:
        super().__init__()
        check_heads(width, num_heads)
        self.num_heads = num_heads
        self.causal = causal
        self.in_projection = nn.Linear(width, 3 * width)
        self.out_projection = nn.Linear(width, width)
        # As torch.nn.MultiheadAttention starts, which OpenAI's towers are made of.
        nn.init.xavier_uniform_(self.in_projection.weight)
        nn.init.zeros_(self.in_projection.bias)
        nn.init.zeros_(self.out_projection.bias)

    def forward(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        """Mixes tokens."""
        query, key, value = (split_heads(part, self.num_heads) for part in self.in_projection(x).chunk(3, dim=-1))
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        projected: Tensor = self.out_projection(join_heads(mixed))
        return projected


class MLP(nn.Module):
    """Two linear layers, applied to each token by itself.

    Args:
        width: Channels of a token.
        hidden: Channels between the layers.
        activation: What stands between the layers.
        output: Channels of the result; ``width`` by default.
    """

    def __init__(self, width: int, hidden: int, activation: nn.Module, output: int | None = None) -> None:
        super().__init__()
        self.expand = nn.Linear(width, hidden)
        self.activation = activation
        self.contract = nn.Linear(hidden, width if output is None else output)

    def forward(self, x: Float[Tensor, "*tokens width"]) -> Float[Tensor, "*tokens output"]:
        """Mixes channels."""
        mixed: Tensor = self.contract(self.activation(self.expand(x)))
        return mixed


class DropPath(nn.Module):
    """Zeroes, in training, what a layer adds to some samples of a batch, and scales the rest to the same mean.

    Args:
        probability: Of zeroing a sample's, 0-1.

    Source: Huang et al. 2016 (arXiv 1603.09382), section 3, with the scale in training and not afterwards.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        """The samples that are kept."""
        if not self.training or self.probability == 0:
            return x
        keep = 1 - self.probability
        mask = x.new_empty(len(x), *(1,) * (x.ndim - 1)).bernoulli_(keep)
        return x * mask.div_(keep) if keep > 0 else x * mask


class TransformerLayer(nn.Module):
    """Attention, then an MLP, each normalised before and added to its input.

    Args:
        width: Channels of a token.
        num_heads: Heads; must divide ``width``.
        mlp_ratio: Hidden channels of the MLP, as a multiple of ``width``.
        quick_gelu: Whether the activation is ``QuickGELU`` and not the exact GELU.
        dropout: Probability, 0-1, of zeroing a channel of what is added.
        drop_path: Probability, 0-1, of adding nothing to a sample.
        causal: Whether a token sees only itself and those before it.

    Raises:
        ValueError: If ``num_heads`` does not divide ``width``, or another value is out of its range.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        *,
        mlp_ratio: float = 4.0,
        quick_gelu: bool = False,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        causal: bool = False,
    ) -> None:
        super().__init__()
        check_probabilities(dropout=dropout)
        hidden = int(mlp_ratio * width)
        if hidden < 1:
            raise ValueError(f"mlp_ratio {mlp_ratio} leaves no hidden channel of {width}; CLIP's is 4")
        self.attention_norm = nn.LayerNorm(width)
        self.attention = SelfAttention(width, num_heads, causal)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = MLP(width, hidden, QuickGELU() if quick_gelu else nn.GELU())
        self.dropout = nn.Dropout(dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        """Adds both branches."""
        x = x + self.drop_path(self.dropout(self.attention(self.attention_norm(x))))
        output: Tensor = x + self.drop_path(self.dropout(self.mlp(self.mlp_norm(x))))
        return output


def check_positive(**sizes: float) -> None:
    """Refuses sizes of nothing.

    Args:
        sizes: Values by the names of their arguments.

    Raises:
        ValueError: If one is not above 0.
    """
    for name, size in sizes.items():
        if not size > 0:
            raise ValueError(f"{name} {size} is not above 0; give a positive number")


def check_probabilities(**probabilities: float) -> None:
    """Refuses what would zero everything, or is no probability.

    Args:
        probabilities: Values by the names of their arguments.

    Raises:
        ValueError: If one is not from 0 up to but not with 1.
    """
    for name, probability in probabilities.items():
        if not 0 <= probability < 1:
            raise ValueError(f"{name} {probability} is no probability from 0 to below 1")


def drop_paths(last: float, depth: int) -> list[float]:
    """Probability of each layer to add nothing: from 0 in the first, linearly to ``last``.

    Args:
        last: That of the last layer, 0 up to but not with 1.
        depth: Number of layers.

    Raises:
        ValueError: If ``last`` is out of its range.

    Source: Huang et al. 2016 (arXiv 1603.09382), section 3.
    """
    if not 0 <= last < 1:
        raise ValueError(f"drop_path {last} is no probability below 1; Vision Transformers take 0 to 0.5")
    return [last * layer / max(1, depth - 1) for layer in range(depth)]


def check_heads(width: int, num_heads: int) -> None:
    """Refuses heads of unequal size.

    Raises:
        ValueError: If ``num_heads`` does not divide ``width``.
    """
    if num_heads < 1 or width % num_heads:
        raise ValueError(f"num_heads {num_heads} does not divide {width} channels; CLIP has one head for each 64")


def split_heads(
    x: Float[Tensor, "batch tokens width"], num_heads: int
) -> Float[Tensor, "batch {num_heads} tokens channels"]:
    """Gives each head its share of the channels."""
    batch, tokens, width = x.shape
    return x.reshape(batch, tokens, num_heads, width // num_heads).transpose(1, 2)


def join_heads(x: Float[Tensor, "batch heads tokens channels"]) -> Float[Tensor, "batch tokens width"]:
    """Puts the heads' channels beside each other again."""
    return x.transpose(1, 2).flatten(2)
