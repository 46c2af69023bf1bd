"""Zero-shot scores of a model that knows which words go with an image: a class is what its words are."""

import warnings
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from clip_lightning.models.bag_of_words import word_mask
from clip_lightning.objectives.prediction import PredictionScorer
from clip_lightning.text import Tokenizer, text_lengths

_NAMED = 5
"""Unknown words that a warning names."""


class WordScorer(PredictionScorer):
    """Scores a class by how much more probable than usual its words are in an image.

    The score is the mean of log p(word | image) - log p(word) over the different words of a prompt, and then over the
    prompts of the class: pointwise mutual information. Words that all classes have, such as those of templates, say
    nothing of any of them and are left out; so are words that no training caption had, of which a warning tells.

    Args:
        log_probabilities: From image features to log-probabilities of all tokens.
        log_prior: Log-probabilities of the tokens whatever the image, minus infinity where one is unknown.
        tokenizer: The one that the model was trained with.
        has_start: Whether it begins each text with a token that says so.
    """

    def __init__(
        self,
        log_probabilities: Callable[[Tensor], Tensor],
        log_prior: Float[Tensor, "vocab_size"],
        tokenizer: Tokenizer,
        has_start: bool,
    ) -> None:
        self._log_probabilities = log_probabilities
        self._log_prior = log_prior
        self._tokenizer = tokenizer
        self._has_start = has_start

    def classes(
        self, prompts: list[list[str]]
    ) -> Callable[[Float[Tensor, "batch feature_dim"]], Float[Tensor, "batch classes"]]:
        """Finds the words of the classes once, and returns the function from image features to scores."""
        words = [[self._words(prompt) for prompt in self._tokenizer(own)] for own in prompts]
        known = {token for token, is_known in enumerate(self._log_prior.isfinite().tolist()) if is_known}
        shared = set.intersection(*(set().union(*own) for own in words)) if len(words) > 1 else set()
        self._tell_of_unknown(set().union(*(word for own in words for word in own)) - known)
        told = [[word & known - shared for word in own] for own in words]
        tokens = sorted(set().union(*(word for own in told for word in own)))
        weights = _mean_weights(told, tokens).to(self._log_prior)
        prior = self._log_prior[tokens]

        def scores(rows: Float[Tensor, "batch feature_dim"]) -> Float[Tensor, "batch classes"]:
            with torch.autocast(weights.device.type, enabled=False):
                information = self._log_probabilities(rows)[:, tokens].to(weights) - prior
                product: Tensor = information @ weights.T
            return product

        return scores

    def _words(self, prompt: Tensor) -> set[int]:
        text = prompt[None]
        return set(text[word_mask(text, text_lengths(text, self._tokenizer.eos_id), self._has_start)].tolist())

    def _tell_of_unknown(self, unknown: set[int]) -> None:
        if unknown:
            named = [repr(self._tokenizer.decode([token]) or token) for token in sorted(unknown)[:_NAMED]]
            more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
            warnings.warn(
                f"no caption of the training had {', '.join(named)}{more}, so classes are scored without them",
                stacklevel=3,
            )


def _mean_weights(words: list[list[set[int]]], tokens: list[int]) -> Float[Tensor, "classes tokens"]:
    """Share of each token in the mean over the words of a prompt and the prompts of a class."""
    column = {token: place for place, token in enumerate(tokens)}
    weights = torch.zeros(len(words), len(tokens))
    for row, own in zip(weights, words, strict=True):
        for prompt in own:
            for token in prompt:
                row[column[token]] += 1 / (len(prompt) * len(own))
    return weights
