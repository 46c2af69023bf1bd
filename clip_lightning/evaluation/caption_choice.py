"""Choosing among a few captions of an image's own, of which the first is right."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray as NDArray

from clip_lightning.data.base import Source
from clip_lightning.evaluation.accuracy import top_k_credit
from clip_lightning.evaluation.base import Context, Evaluator
from clip_lightning.results import Result
from clip_lightning.stats import wilson_interval

_RIGHT = np.zeros(1, dtype=np.int64)


class Chosen(NamedTuple):
    """What ``CaptionChoice`` collects.

    Args:
        credit: For each image, whether its first caption scores best; equal scores share that.
        chance: For each image, one over the number of its captions.
        missing: Number of images that could not be read.
    """

    credit: Float[NDArray, "images"]
    chance: Float[NDArray, "images"]
    missing: int


class CaptionChoice(Evaluator):
    """Share of images that are nearer to their first caption than to each other one of theirs.

    So a model is asked what only one of two captions says: what is left of what, which thing is red, which of a list of
    words is written there. Equal scores share the hit, so a model that tells nothing apart gets chance level. A
    ``Manifest`` has several columns of captions, of which the first is the right one.

    Args:
        source: Images with two captions at least.
        name: First part of the results' names.

    Source: Hsieh et al. 2023 (SugarCrepe, arXiv 2306.14610); of lists of words, Radford et al. 2021
    (arXiv 2103.00020), appendix E.2.
    """

    needs = frozenset({"text_embeds"})

    def __init__(self, source: Source, name: str = "caption_choice") -> None:
        self.source = source
        self.prefix = f"{name}/{source.name}"
        self.reports = [f"{self.prefix}/accuracy"]

    def collect(self, context: Context) -> Chosen:
        """Scores each image against its own captions.

        Raises:
            ValueError: If an image has one caption only.
        """
        features = context.images(self.source)
        captions = [self._captions(index) for index in features.index.tolist()]
        rows = {text: row for row, text in enumerate(dict.fromkeys(text for own in captions for text in own))}
        embeds = context.text_embeds(list(rows))
        credit = [
            top_k_credit((embeds[[rows[text] for text in own]] @ image)[None], _RIGHT, k=1)[0]
            for image, own in zip(features.values, captions, strict=True)
        ]
        chance = np.array([1 / len(own) for own in captions])
        return Chosen(np.array(credit), chance, len(features.missing))

    def compute(self, collected: Chosen) -> list[Result]:
        """The accuracy with a 95 % interval."""
        credit = collected.credit
        protocol = {"chance": float(collected.chance.mean()), "right": "the first caption", "ties": "shared"}
        return [
            Result(
                name=self.reports[0],
                value=float(credit.mean()),
                interval=wilson_interval(float(credit.sum()), len(credit)),
                method="wilson",
                n=len(credit),
                missing=collected.missing,
                metric="accuracy",
                protocol=protocol,
                source=self.source.name,
                items=credit,
            )
        ]

    def _captions(self, index: int) -> Sequence[str]:
        captions = self.source.read(index).captions
        if len(captions) < 2:
            raise ValueError(
                f"{self.source.place(index)} has {len(captions)} captions; give two, of which the first is right"
            )
        return captions
