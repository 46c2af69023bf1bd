"""Zero-shot scores of a model that predicts captions: a class is as likely as its prompts are of an image."""

import warnings
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_lightning.models.caption_decoder import CaptionDecoder
from clip_lightning.objectives.prediction import PredictionScorer
from clip_lightning.objectives.scoring import evaluating
from clip_lightning.text import Tokenizer, text_lengths

_LOGITS = 2**25
"""Logits that are there at once: 128 MiB."""


class CaptionScorer(PredictionScorer):
    """Scores a class by log p(prompt | image) over the prompt's tokens, and by the mean of that over its prompts.

    Without the division, long names would be the unlikely ones. Each prompt is predicted for each image, so the cost is
    that of as many texts as there are images times prompts.

    Args:
        decoder: Says how probable a text is; it is used in evaluation mode and left in the mode it was in.
        tokenizer: The one that it was trained with.
        prompts_per_class: How many of the prompts of a class are used, at least 1.
    """

    def __init__(self, decoder: CaptionDecoder, tokenizer: Tokenizer, prompts_per_class: int) -> None:
        self._decoder = decoder
        self._tokenizer = tokenizer
        self._prompts_per_class = prompts_per_class

    def classes(
        self, prompts: list[list[str]]
    ) -> Callable[[Float[Tensor, "batch feature_dim"]], Float[Tensor, "batch classes"]]:
        """Tokenises the prompts once, and returns the function from image features to scores.

        Raises:
            ValueError: If a class has no prompt.
        """
        chosen = self._chosen(prompts)
        texts = list(dict.fromkeys(prompt for own in chosen for prompt in own))
        place = {text: number for number, text in enumerate(texts)}
        text = self._tokenizer(texts)
        length = text_lengths(text, self._tokenizer.eos_id)
        weights = torch.zeros(len(texts), len(chosen))
        for label, own in enumerate(chosen):
            for prompt in own:
                weights[place[prompt], label] += 1 / len(own)

        def scores(rows: Float[Tensor, "batch feature_dim"]) -> Float[Tensor, "batch classes"]:
            with evaluating(self._decoder):
                likely = self._mean_log_probabilities(rows, text.to(rows.device), length.to(rows.device))
            with torch.autocast(rows.device.type, enabled=False):
                product: Tensor = likely @ weights.to(likely)
            return product

        return scores

    def _chosen(self, prompts: list[list[str]]) -> list[list[str]]:
        """The prompts of each class that are used."""
        if empty := [label for label, own in enumerate(prompts) if not own]:
            raise ValueError(f"classes without a prompt: {empty}; give each class at least one")
        most = max(map(len, prompts))
        if most > self._prompts_per_class:
            warnings.warn(
                f"up to {most} prompts describe a class, of which the first {self._prompts_per_class} are used, since "
                "each is predicted for each image; raise model.objective.init_args.prompts_per_class for more",
                stacklevel=3,
            )
        return [own[: self._prompts_per_class] for own in prompts]

    def _mean_log_probabilities(
        self, rows: Float[Tensor, "batch feature_dim"], text: Int[Tensor, "texts tokens"], length: Int[Tensor, "texts"]
    ) -> Float[Tensor, "batch texts"]:
        """Of each text given each image, the mean over its tokens."""
        rows = rows.to(self._decoder.prefix.weight)
        found = torch.empty(len(rows), len(text), device=rows.device)
        for places in self._batches(length, len(rows)):
            tokens, own_length = text[places, : int(length[places].max())], length[places]
            images = rows.repeat_interleave(len(places), dim=0)
            likely = self._decoder(images, tokens.repeat(len(rows), 1), own_length.repeat(len(rows)))
            found[:, places] = likely.view(len(rows), -1).float() / own_length
        return found

    def _batches(self, length: Int[Tensor, "texts"], images: int) -> Iterator[Int[Tensor, "some"]]:
        """Texts of like length together, so that little padding is computed, in bounded memory."""
        logits = images * int(length.max()) * self._decoder.token_embedding.num_embeddings
        yield from torch.split(length.argsort(stable=True), max(1, _LOGITS // max(1, logits)))
