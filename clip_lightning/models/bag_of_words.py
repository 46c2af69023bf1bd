"""The paper's bag of words: a text tower that knows which words a text has, and not their order."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from clip_lightning.models.base import TextEncoder
from clip_lightning.models.layers import check_positive


class BagOfWords(TextEncoder):
    """The mean of the embeddings of a text's tokens; the linear layer behind it is CLIP's text projection.

    Args:
        context_length: Longest text, in tokens.
        vocab_size: Number of token ids.
        width: Channels of each token, and of the output.
        has_start: Whether the tokeniser begins each text with a token that says so, as all here do but GPT-2's.

    Raises:
        ValueError: If a size is below 1.

    Source: Radford et al. 2021 (arXiv 2103.00020), figure 3 ("CBOW or Text Transformer"), the encoder of figure 2's
        contrastive curve; continuous bag of words: Mikolov et al. 2013 (arXiv 1301.3781), section 3.1.
    """

    def __init__(self, context_length: int, vocab_size: int, width: int, has_start: bool = True) -> None:
        check_positive(context_length=context_length, vocab_size=vocab_size, width=width)
        super().__init__(context_length=context_length, vocab_size=vocab_size, output_dim=width)
        self.has_start = has_start
        self.token_embedding = nn.Embedding(vocab_size, width)
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def forward(
        self, text: Int[Tensor, "batch tokens"], length: Int[Tensor, "batch"]
    ) -> Float[Tensor, "batch output_dim"]:
        """The mean over the tokens between start and end; zero where there are none."""
        x: Tensor = self.token_embedding(text)
        is_word = word_mask(text, length, self.has_start).to(x.dtype)
        weights = is_word / is_word.sum(dim=1, keepdim=True).clamp_(min=1)
        return torch.einsum("bt,btc->bc", weights, x)


def word_mask(
    text: Int[Tensor, "batch tokens"], length: Int[Tensor, "batch"], has_start: bool = True
) -> Bool[Tensor, "batch tokens"]:
    """Which positions hold the text itself, and not its start, its end or padding.

    Args:
        text: Token ids.
        length: Tokens of each text up to and with its end.
        has_start: Whether the first token says that a text begins.
    """
    position = torch.arange(text.shape[1], device=text.device)
    return (position >= int(has_start)) & (position < length[:, None] - 1)
