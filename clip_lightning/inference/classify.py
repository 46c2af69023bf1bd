"""Images, and which of some classes they show."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray as NDArray

from clip_lightning.data import Source, Transform
from clip_lightning.inference.context import LiveContext
from clip_lightning.inference.images import UnlabelledImages
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


def classify(
    scorer: Scorer,
    transform: Transform,
    source: Source,
    class_names: list[list[str]],
    templates: list[str],
    batch_size: int = 64,
    num_workers: int = 0,
    device: torch.device | str = "cpu",
) -> Classified:
    """Classifies images zero-shot: by the names of the classes alone.

    Args:
        scorer: How the model scores classes.
        transform: Makes a fixed-size uint8 image of a stored one.
        source: The images.
        class_names: One name or several a class.
        templates: Sentences with a ``{}`` each.
        batch_size: Images encoded at once.
        num_workers: Processes that decode images; 0 decodes in this one.
        device: Where the scorer's model is.

    Returns:
        Probabilities in the order of the source: the softmax of the scorer's scores.

    Raises:
        ValueError: If no image can be read, with the reason of the first, or a template has no ``{}``.

    Source: Radford et al. 2021 (arXiv 2103.00020), section 3.1.2.
    """
    images = UnlabelledImages(source, class_names, templates)
    context = LiveContext(scorer, transform, batch_size, num_workers, device)
    features = context.images(images)
    scores = torch.from_numpy(context.class_scores(images, templates))
    # In double precision, so that the rows sum to 1 also over many classes.
    return Classified(features.index, scores.double().softmax(dim=1).numpy(), features.missing)
