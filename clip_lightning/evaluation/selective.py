"""What a model that may decline is worth: answers are given for the images that it is surest of."""

from pathlib import Path

import numpy as np

from clip_lightning.data.labelled import LabelledDataset
from clip_lightning.evaluation.accuracy import top_k_credit
from clip_lightning.evaluation.class_scores import OneLabelEvaluator, Scored
from clip_lightning.evaluation.metrics import NO_INTERVAL, Measured
from clip_lightning.evaluation.probabilities import log_probabilities
from clip_lightning.evaluation.risk import RiskCoverage
from clip_lightning.results import Result
from clip_lightning.stats import bootstrap_interval

_POINTS = 101


class SelectivePrediction(OneLabelEvaluator):
    """Area under the curve of risk over coverage: the share of wrong answers among the surest images, however many.

    A confidence that tells nothing has the model's share of wrong answers as its area, and less is better.

    Args:
        dataset: Images, one label each, and the names of the labels.
        templates: Templates in any form that ``read_templates`` takes; None takes the data set's own.
        name: First part of the results' names.

    Raises:
        ValueError: As ``ZeroShot``, and if samples have several labels.

    Source: Geifman et al. 2019 (arXiv 1805.08206).
    """

    def __init__(
        self, dataset: LabelledDataset, templates: list[str] | str | Path | None = None, name: str = "selective"
    ) -> None:
        super().__init__(dataset, templates, name)
        self.reports = [f"{self.prefix}/area_under_risk_coverage"]

    def compute(self, collected: Scored) -> list[Result]:
        """The area, with the curve."""
        hits = top_k_credit(collected.scores, collected.right, 1)
        curve = RiskCoverage.of(log_probabilities(collected.scores).max(axis=1), hits)
        once = np.ones(len(hits), dtype=np.int64)
        interval = bootstrap_interval(curve.area, len(hits))
        measured = Measured(curve.area(once), interval, "bootstrap" if interval else NO_INTERVAL, None)
        risks = curve.risks(once)
        places = np.unique(np.linspace(0, len(risks) - 1, _POINTS).astype(int))
        details = {
            "kind": "risk_coverage",
            "coverage": ((places + 1) / len(risks)).tolist(),
            "risk": risks[places].tolist(),
        }
        return [self.result("area_under_risk_coverage", measured, collected, details=details)]
