"""Whether images of none of the classes can be told by how sure the model is."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray as NDArray

from clip_lightning.data.labelled import LabelledDataset
from clip_lightning.evaluation.base import Context
from clip_lightning.evaluation.class_scores import OneLabelEvaluator, Scored, collect_scores
from clip_lightning.evaluation.labels import pool
from clip_lightning.evaluation.metrics import NO_INTERVAL, Measured
from clip_lightning.evaluation.probabilities import log_probabilities
from clip_lightning.evaluation.ranking import Ranking
from clip_lightning.results import Result, counted
from clip_lightning.stats import bootstrap_interval

RECALL = 0.95


class WithOutliers(NamedTuple):
    """What ``OutOfDistribution`` collects.

    Args:
        known: Images of the classes.
        outliers: Scores of the same classes for images of none of them.
        missing: Number of those that could not be read.
    """

    known: Scored
    outliers: Float[NDArray, "outliers labels"]
    missing: int


class OutOfDistribution(OneLabelEvaluator):
    """Area under the ROC curve, false positives and average precision of telling outliers by the highest probability.

    The area is the probability that the model is surer of a known image than of an outlier. False positives are the
    outliers that pass where 95 % of the known images do. The average precision is that of finding the outliers, the
    least sure first, which is what is published for ImageNet-O.

    Args:
        dataset: Known images, and the names of their classes.
        outliers: Images of none of these classes; their labels do not matter.
        templates: Templates in any form that ``read_templates`` takes; None takes those of ``dataset``.
        name: First part of the results' names.

    Raises:
        ValueError: As ``ZeroShot``, and if samples have several labels.

    Source: Hendrycks and Gimpel 2017 (arXiv 1610.02136); Hendrycks et al. 2021 (arXiv 1907.07174).
    """

    def __init__(
        self,
        dataset: LabelledDataset,
        outliers: LabelledDataset,
        templates: list[str] | str | Path | None = None,
        name: str = "out_of_distribution",
    ) -> None:
        super().__init__(dataset, templates, name)
        self.outliers = outliers
        self.prefix = f"{name}/{dataset.name}_{outliers.name}"
        metrics = "area_under_roc", "false_positive_rate_at_95_recall", "average_precision"
        self.reports = [f"{self.prefix}/{metric}" for metric in metrics]

    def collect(self, context: Context) -> WithOutliers:
        """Scores of the known images and of the outliers, for the classes of the known ones."""
        missing = len(context.images(self.outliers.source).missing)
        outliers = pool(context.class_scores(self.outliers.source, self.prompts), self.dataset)
        return WithOutliers(collect_scores(context, self.dataset, self.prompts), outliers, missing)

    def compute(self, collected: WithOutliers) -> list[Result]:
        """The three figures, each with a 95 % interval."""
        known, outliers, missing = collected
        confidence = np.concatenate([log_probabilities(scores).max(axis=1) for scores in (known.scores, outliers)])
        is_known = np.arange(len(confidence)) < len(known.scores)
        surest, least_sure = Ranking.of(confidence, is_known), Ranking.of(-confidence, ~is_known)
        figures = {
            "area_under_roc": surest.roc_auc,
            "false_positive_rate_at_95_recall": lambda counts: surest.false_positive_rate(counts, RECALL),
            "average_precision": least_sure.average_precision,
        }
        once = np.ones(len(confidence), dtype=np.int64)
        protocol = {
            "outliers": f"{self.outliers.name}, {self.outliers.split}, {counted(len(outliers), 'image')}",
            "known": f"{counted(len(known.scores), 'image')}",
            "confidence": "highest probability",
        }
        results = []
        for metric, figure in figures.items():
            interval = bootstrap_interval(figure, len(confidence))
            measured = Measured(figure(once), interval, "bootstrap" if interval else NO_INTERVAL, None)
            result = self.result(metric, measured, known, protocol)
            results.append(dataclasses.replace(result, n=len(confidence), missing=known.missing + missing))
        return results
