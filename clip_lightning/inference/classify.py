"""Images, and which of some classes they show."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray as NDArray

from clip_lightning.data import Source
from clip_lightning.inference.context import LiveContext
from clip_lightning.inference.features import ImagePass
from clip_lightning.objectives.base import Scorer


@dataclass(frozen=True)
class Classified:
    """What a model says of some images.

    Args:
        index: Index of each row in the source, ascending.
        probabilities: Of each class; a row sums to 1.
        missing: For each index that could not be read, the reason.
    """

    index: Int[NDArray, "images"]
    probabilities: Float[NDArray, "images classes"]
    missing: Mapping[int, str]

    def ranked(self) -> Int[NDArray, "images classes"]:
        """The classes of each image, the most probable first; of equal ones that which was named first."""
        return np.argsort(-self.probabilities, axis=1, kind="stable")


def classify(scorer: Scorer, how: ImagePass, source: Source, prompts: list[list[str]]) -> Classified:
    """Classifies images zero-shot: by the names of the classes alone.

    Args:
        scorer: How the model scores classes.
        how: The model, and how it encodes images.
        source: The images.
        prompts: The texts that describe each class.

    Returns:
        Probabilities in the order of the source: the softmax of the scorer's scores.

    Raises:
        ValueError: If no image can be read, with the reason of the first.

    Source: Radford et al. 2021 (arXiv 2103.00020), section 3.1.2.
    """
    context = LiveContext(scorer, how)
    features = context.images(source, scorer.kind)
    scores = torch.from_numpy(context.class_scores(source, prompts))
    # In double precision, so that the rows sum to 1 also over many classes.
    return Classified(features.index, scores.double().softmax(dim=1).numpy(), features.missing)
