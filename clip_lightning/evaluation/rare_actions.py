"""Unusual actions in videos, each to be told from similar ones."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray as NDArray

from clip_lightning.data.rare_act import Annotated, RareAct
from clip_lightning.evaluation.base import Context, Evaluator
from clip_lightning.results import Result

_POSITIVE, _NEGATIVE = 1, 0


class Ranked(NamedTuple):
    """What ``RareActions`` collects.

    Args:
        scores: Log-score of each action for each section.
        row: The row of each section in the annotations.
        missing: Number of sections that could not be read.
    """

    scores: Float[NDArray, "sections actions"]
    row: Int[NDArray, "sections"]
    missing: int


class RareActions(Evaluator):
    """Mean over actions of the weighted average precision (mWAP), in which each video of a group counts once.

    Of each action, sections that show it are ranked against those that do not: those annotated so, and those that show
    another action. The sections of one video share its weight among the positive ones, among those that have verb or
    noun alone, and among the rest.

    Args:
        dataset: The annotated sections.
        name: First part of the results' names.

    Source: Miech et al. 2020 (RareAct, arXiv 2008.01018) and its ``compute_score.py``.
    """

    needs = frozenset({"class_scores"})

    def __init__(self, dataset: RareAct, name: str = "rare_actions") -> None:
        self.dataset = dataset
        self.prefix = f"{name}/{dataset.name}"
        self.reports = [f"{self.prefix}/mean_weighted_average_precision"]

    def collect(self, context: Context) -> Ranked:
        """Scores every section against every action."""
        features = context.images(self.dataset.source)
        scores = context.class_scores(self.dataset.source, self.dataset.prompts)
        return Ranked(scores, features.index, len(features.missing))

    def compute(self, collected: Ranked) -> list[Result]:
        """The mean over the actions that some section shows."""
        precisions = self._precisions(collected)
        value = float(np.mean(list(precisions.values())))
        return [
            Result(
                name=self.reports[0],
                value=value,
                interval=None,
                method="none: sections are annotated for some actions only",
                n=len(collected.row),
                missing=collected.missing,
                metric="mean_weighted_average_precision",
                protocol={"frame": "middle", "prompts": self.dataset.prompts, "actions": len(precisions)},
                source=self.dataset.name,
                details={"kind": "per_class", "values": precisions},
            )
        ]

    def _precisions(self, collected: Ranked) -> dict[str, float]:
        """The weighted average precision of each action that a section shows."""
        from sklearn.metrics import average_precision_score

        rows = [self.dataset.rows[index] for index in collected.row.tolist()]
        videos = np.array([row.video for row in rows])
        precisions = {}
        for place, action in enumerate(self.dataset.actions):
            groups = _groups(rows, action)
            if not groups[0].any():
                continue
            weight = np.sum([_shared(group, videos) for group in groups], axis=0)
            used = weight > 0
            precisions[" ".join(action)] = float(
                average_precision_score(groups[0][used], collected.scores[used, place], sample_weight=weight[used])
            )
        return precisions


def _groups(rows: Sequence[Annotated], action: tuple[str, str]) -> Bool[NDArray, "3 sections"]:
    """Which sections show an action, which have its verb or its noun alone, and which are known to be of another."""
    own = np.array([(row.verb, row.noun) == action for row in rows])
    kind = np.array([row.kind for row in rows])
    shared = np.array([(row.verb == action[0]) + (row.noun == action[1]) for row in rows])
    shown_other = ~own & (kind == _POSITIVE)
    positive = own & (kind == _POSITIVE)
    near = (own & (kind > _POSITIVE)) | (shown_other & (shared == 1))
    far = (own & (kind == _NEGATIVE)) | (shown_other & (shared == 0))
    return np.stack([positive, near, far])


def _shared(group: Bool[NDArray, "sections"], videos: NDArray) -> Float[NDArray, "sections"]:
    """A weight of one for each video of a group, divided among its sections there."""
    weight = np.zeros(len(group))
    _, video, number = np.unique(videos[group], return_inverse=True, return_counts=True)
    weight[group] = 1 / number[video]
    return weight
