"""Predicts which words a caption has: the paper's bag of words, as an image's labels."""

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from clip_lightning.batch import Batch
from clip_lightning.models import CLIP, TextEncoder
from clip_lightning.models.bag_of_words import word_mask
from clip_lightning.objectives.base import Scorer
from clip_lightning.objectives.exchange import GatherExchange
from clip_lightning.objectives.prediction import PredictionObjective
from clip_lightning.objectives.tiles import precision
from clip_lightning.objectives.word_scoring import WordScorer
from clip_lightning.text import Tokenizer

Loss = Literal["softmax", "sigmoid"]

_NORMALISERS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda logits: logits.logsumexp(dim=1),
    "sigmoid": lambda logits: F.softplus(logits).sum(dim=1),
}
_LOG_PROBABILITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda logits: logits.log_softmax(dim=1),
    "sigmoid": F.logsigmoid,
}


class BagOfWordsPrediction(PredictionObjective):
    """Which tokens a caption has, in any order and number, is predicted by a linear layer on the image features.

    With logits z_v of the vocabulary and the k different tokens B of a caption, its loss is

        softmax:  log sum_v exp(z_v) - 1/k sum_{v in B} z_v     (cross-entropy with the normalised bag)
        sigmoid:  sum_v log(1 + exp(z_v)) - sum_{v in B} z_v    (binary cross-entropy of each token by itself)

    in nats. How many captions had each token is counted in training: a class is scored by how much more probable its
    words are in an image than they are by that count (``WordScorer``), so words that say little need no list.

    Args:
        loss: "softmax" or "sigmoid". Joulin et al. found the former the better one.
        has_start: Whether the tokeniser begins each text with a token that says so, as all here do but GPT-2's.

    Raises:
        ValueError: If there is no such loss.

    Source: Joulin et al. 2016 (arXiv 1511.02251), section 3.2; Radford et al. 2021 (arXiv 2103.00020), figure 2.
    """

    head: nn.Linear
    captions_with: Tensor
    captions_seen: Tensor

    def __init__(self, loss: Loss = "softmax", has_start: bool = True) -> None:
        super().__init__()
        if loss not in _NORMALISERS:
            raise ValueError(f"loss {loss!r} is none of {', '.join(map(repr, _NORMALISERS))}")
        self.loss = loss
        self.has_start = has_start

    def make_head(self, feature_dim: int, text_encoder: TextEncoder) -> None:
        """A linear layer to the vocabulary, at first with a probability of one token in all for each."""
        self.head = nn.Linear(feature_dim, text_encoder.vocab_size)
        nn.init.constant_(self.head.bias, -math.log(text_encoder.vocab_size))
        self.register_buffer("captions_with", torch.zeros(text_encoder.vocab_size, dtype=torch.int64))
        self.register_buffer("captions_seen", torch.zeros((), dtype=torch.int64))

    def encode(self, model: CLIP, batch: Batch) -> dict[str, Tensor]:
        """The loss of each sample, and which of its tokens count."""
        logits = self._logits(model.encode_image(model.normalize(batch.image)))
        is_new = first_of_each(batch.text, word_mask(batch.text, batch.length, self.has_start))
        shares = is_new.to(logits.dtype)
        if self.loss == "softmax":
            shares = shares / shares.sum(dim=1, keepdim=True).clamp(min=1)
        predicted = (logits.gather(1, batch.text) * shares).sum(dim=1)
        has_words = is_new.any(dim=1)
        losses = (_NORMALISERS[self.loss](logits) - predicted) * has_words
        return {"losses": losses, "weights": has_words.to(logits.dtype), "text": batch.text, "is_new": is_new}

    def reduce(self, model: CLIP, encoded: dict[str, Tensor], group: ProcessGroup | None = None) -> dict[str, Tensor]:
        """The mean over all captions; in training, their tokens are counted."""
        if self.training and torch.is_grad_enabled():
            exchange = GatherExchange.between(encoded["losses"], group)
            counts = torch.zeros_like(self.captions_with)
            counts.index_add_(0, encoded["text"].flatten(), encoded["is_new"].flatten().to(counts))
            self.captions_with += exchange.summed(counts)
            self.captions_seen += exchange.total
        return super().reduce(model, encoded, group)

    def scorer(self, model: CLIP, tokenizer: Tokenizer) -> Scorer:
        """Scores classes by the words of their prompts."""
        return WordScorer(self._log_probabilities, self._log_prior(), tokenizer, self.has_start)

    def _logits(self, features: Float[Tensor, "batch feature_dim"]) -> Float[Tensor, "batch vocab_size"]:
        logits: Tensor = self.head(features)
        return logits.to(precision(logits))

    @torch.no_grad()
    def _log_probabilities(self, features: Float[Tensor, "batch feature_dim"]) -> Float[Tensor, "batch vocab_size"]:
        return _LOG_PROBABILITIES[self.loss](self._logits(features.to(self.head.weight)))

    def _log_prior(self) -> Float[Tensor, "vocab_size"]:
        """Log-probability of each token whatever the image; minus infinity for those that no caption had."""
        counts = self.captions_with.float()
        total = counts.sum() if self.loss == "softmax" else self.captions_seen
        return (counts / total.clamp(min=1)).log()


def first_of_each(
    text: Int[Tensor, "batch tokens"], chosen: Bool[Tensor, "batch tokens"]
) -> Bool[Tensor, "batch tokens"]:
    """Of the chosen positions, those whose token no earlier chosen position has."""
    equal = (text[:, :, None] == text[:, None, :]) & chosen[:, None, :]
    return chosen & ~equal.tril(diagonal=-1).any(dim=2)
