"""What evaluators ask for, from a model that is at hand."""

import dataclasses

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray as NDArray
from torch import distributed

from clip_lightning.data import LabelledDataset, Transform
from clip_lightning.data.features import Features
from clip_lightning.inference.features import image_features, targets
from clip_lightning.inference.zero_shot import fill_templates
from clip_lightning.objectives.base import Scorer


class LiveContext:
    """One round of evaluation: images are encoded when first asked for, and their features kept for the round.

    It does not notice that weights change, so a new round needs a new context.

    Args:
        scorer: Encodes images and scores classes.
        transform: Makes a fixed-size uint8 image of a stored one, as the model's encoder expects it.
        batch_size: Images encoded, and rows scored, at once.
        num_workers: Processes that decode images; 0 decodes in this one.
        device: Where the scorer's model is.
        group: The processes that take part; None takes all.
    """

    def __init__(
        self,
        scorer: Scorer,
        transform: Transform,
        batch_size: int = 256,
        num_workers: int = 0,
        device: torch.device | str = "cpu",
        group: distributed.ProcessGroup | None = None,
    ) -> None:
        self.scorer = scorer
        self.transform = transform
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.device = device
        self.group = group
        self._features: dict[tuple[str, int], Features] = {}

    def images(self, dataset: LabelledDataset) -> Features:
        """Features of every image; data sets that label the same images differently share the pass over them."""
        key = dataset.source.fingerprint, len(dataset)
        if key in self._features:
            known = self._features[key]
            return dataclasses.replace(known, target=targets(dataset, known.index))
        self._features[key] = image_features(
            self.scorer, dataset, self.transform, self.batch_size, self.num_workers, self.device, self.group
        )
        return self._features[key]

    def class_scores(self, dataset: LabelledDataset, templates: list[str]) -> Float[NDArray, "images classes"]:
        """Log-scores of the classes for the rows of ``images``."""
        classify = self.scorer.classes(fill_templates(dataset.class_names, templates))
        rows = torch.from_numpy(self.images(dataset).values)
        with torch.no_grad():
            scores = [
                classify(part.to(self.device)).float().cpu().numpy() for part in torch.split(rows, self.batch_size)
            ]
        return np.concatenate(scores)
