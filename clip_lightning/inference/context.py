"""What evaluators ask for, from a model that is at hand."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray as NDArray
from torch import distributed

from clip_lightning.data import Source
from clip_lightning.data.features import Features, Stage
from clip_lightning.inference.feature_cache import FeatureCache
from clip_lightning.inference.features import Encoded, ImagePass, image_features
from clip_lightning.objectives.base import Scorer


class LiveContext:
    """One round of evaluation: images are encoded when first asked for, and their features kept for the round.

    It does not notice that weights change, so a new round needs a new context.

    Args:
        scorer: Scores classes.
        how: The model, and how it encodes images.
        cache: Where features outlast the round; None keeps them in memory alone.
        group: The processes that take part; None takes all.

    Attributes:
        unreadable: By the fingerprint of each source that was asked for: its name, and the reason for each image of it
            that could not be read.
    """

    def __init__(
        self,
        scorer: Scorer,
        how: ImagePass,
        cache: FeatureCache | None = None,
        group: distributed.ProcessGroup | None = None,
    ) -> None:
        self._scorer = scorer
        self._how = how
        self._cache = cache
        self._group = group
        self._encoded: dict[tuple[str, int], Encoded] = {}
        self.unreadable: dict[str, tuple[str, Mapping[int, str]]] = {}
        # Evaluators that look at the same data set from several sides ask for the same classes.
        self._classifier = functools.lru_cache(maxsize=4)(lambda prompts: scorer.classes([*map(list, prompts)]))

    def images(self, source: Source, stage: Stage = "features") -> Features:
        """Rows of every image; data sets that label the same images differently share the pass over them."""
        key = source.fingerprint, len(source)
        if key not in self._encoded:
            make = image_features if self._cache is None else self._cache.features
            self._encoded[key] = make(self._how, source, self._group)
            self.unreadable[source.fingerprint] = source.name, self._encoded[key].missing
        return self._encoded[key].at(stage)

    def class_scores(self, source: Source, prompts: list[list[str]]) -> Float[NDArray, "images classes"]:
        """Log-scores of the classes for the rows of ``images``."""
        classify = self._classifier(tuple(map(tuple, prompts)))
        rows = torch.from_numpy(self.images(source, self._scorer.kind).values)
        device = self._how.model.logit_scale.device
        with torch.no_grad():
            parts = torch.split(rows, self._how.batch_size)
            return np.concatenate([classify(part.to(device)).float().cpu().numpy() for part in parts])

    def text_embeds(self, texts: Sequence[str]) -> Float[NDArray, "texts embed_dim"]:
        """Texts as unit vectors in the space of the image features."""
        embeds: NDArray = self._scorer.text_embeds(texts).cpu().numpy()
        return embeds
