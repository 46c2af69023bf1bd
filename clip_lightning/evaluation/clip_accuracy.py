"""Videos as clips of similar frames: a model is to be right on all of them."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray as NDArray

from clip_lightning.data.labelled import LabelledDataset
from clip_lightning.evaluation.accuracy import top_k_credit
from clip_lightning.evaluation.base import Context
from clip_lightning.evaluation.class_scores import ClassScoresEvaluator, Scored
from clip_lightning.evaluation.metrics import Measured
from clip_lightning.results import Result
from clip_lightning.stats import wilson_interval


class Clips(NamedTuple):
    """What ``ClipAccuracy`` collects.

    Args:
        scored: Scores of the frames.
        clip: Number of the clip of each frame, from 0.
        is_anchor: Whether each frame is the anchor of its clip.
    """

    scored: Scored
    clip: Int[NDArray, "frames"]
    is_anchor: Bool[NDArray, "frames"]


class ClipAccuracy(ClassScoresEvaluator):
    """Zero-shot accuracy of the anchors of clips (PM-0), and of whole clips, all of whose frames are right (PM-k).

    A clip is as right as its worst frame, so a model that tells nothing apart gets chance level in both. Clips whose
    anchor cannot be read are left out.

    Args:
        dataset: Frames whose groups say "clip" and "anchor", such as ``ImageNetVid``.
        templates: Templates in any form that ``read_templates`` takes; None takes the data set's own.
        name: First part of the results' names.

    Raises:
        ValueError: If the frames have no clips, or names cannot be the labels'.

    Source: Shankar et al. 2019, "Do image classifiers generalize across time?" (arXiv 1906.02168).
    """

    def __init__(
        self,
        dataset: LabelledDataset,
        templates: list[str] | str | Path | None = None,
        name: str = "clip_accuracy",
    ) -> None:
        super().__init__(dataset, templates, name)
        if not {"clip", "anchor"} <= set(dataset.groups(0)):
            raise ValueError(f"{dataset.name!r} has no clips; its samples' groups must say 'clip' and 'anchor'")
        self.reports = [f"{self.prefix}/pm_0", f"{self.prefix}/pm_k"]

    def collect(self, context: Context) -> Clips:
        """Scores every frame against every class, and says which belong together."""
        groups = [self.dataset.groups(index) for index in context.images(self.dataset.source).index.tolist()]
        _, clip = np.unique([one["clip"] for one in groups], return_inverse=True)
        is_anchor = np.array([one["anchor"] == "true" for one in groups])
        return Clips(super().collect(context), clip, is_anchor)

    def compute(self, collected: Clips) -> list[Result]:
        """Both accuracies, each with a 95 % interval, over the clips."""
        scored, clip, is_anchor = collected
        credit = top_k_credit(scored.scores, scored.right, k=1)
        worst = np.ones(clip.max() + 1)
        np.minimum.at(worst, clip, credit)
        anchors = np.flatnonzero(is_anchor)
        shares = {"pm_0": _share(credit[anchors]), "pm_k": _share(worst[clip[anchors]])}
        results = [self.result(metric, share, scored, {"frames": len(clip)}) for metric, share in shares.items()]
        return [dataclasses.replace(result, n=len(anchors)) for result in results]


def _share(items: Float[NDArray, "clips"]) -> Measured:
    return Measured(float(items.mean()), wilson_interval(float(items.sum()), len(items)), "wilson", items)
