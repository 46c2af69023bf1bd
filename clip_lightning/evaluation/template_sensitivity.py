"""How far a figure depends on the wording of the prompt."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from clip_lightning.data.labelled import LabelledDataset
from clip_lightning.evaluation.base import Context
from clip_lightning.evaluation.class_scores import ClassScoresEvaluator, Scored, collect_scores, label_scores
from clip_lightning.evaluation.metrics import Measured, value_of
from clip_lightning.results import Result


class OfTemplates(NamedTuple):
    """What ``TemplateSensitivity`` collects.

    Args:
        scored: The images, with the scores of the first template.
        values: The data set's metric with each template alone.
    """

    scored: Scored
    values: list[float]


class TemplateSensitivity(ClassScoresEvaluator):
    """Standard deviation and range of the data set's own metric over its templates, each used alone.

    Args:
        dataset: Images, labels, and the names of the classes.
        templates: Two at least, in any form that ``read_templates`` takes; None takes the data set's own.
        name: First part of the results' names.

    Raises:
        ValueError: As ``ZeroShot``, and if there is one template alone.
    """

    def __init__(
        self,
        dataset: LabelledDataset,
        templates: list[str] | str | Path | None = None,
        name: str = "template_sensitivity",
    ) -> None:
        super().__init__(dataset, templates, name)
        self.each = list(dict.fromkeys(self.templates or dataset.templates))
        if len(self.each) < 2:
            raise ValueError(f"{dataset.name!r} has the templates {self.each}; give two at least to compare them")
        self.reports = [f"{self.prefix}/{metric}" for metric in ("standard_deviation", "range", "mean")]

    def collect(self, context: Context) -> OfTemplates:
        """The metric with each template; of many images and classes the scores of one alone are in memory."""
        first, *others = (self.dataset.prompts([template]) for template in self.each)
        scored = collect_scores(context, self.dataset, first)
        values = [self._value(scored)]
        values += [self._value(scored._replace(scores=label_scores(context, self.dataset, own))) for own in others]
        return OfTemplates(scored, values)

    def compute(self, collected: OfTemplates) -> list[Result]:
        """The spread over the templates, with a table of them."""
        values = np.array(collected.values)
        rows = [{"template": self.each[place], "value": values[place]} for place in np.argsort(-values, kind="stable")]
        details = {"kind": "templates", "metric": self.dataset.metric, "rows": rows}
        spread = {"standard_deviation": values.std(ddof=1), "range": np.ptp(values), "mean": values.mean()}
        method = "none: it is of these templates"
        return [
            self.result(
                metric,
                Measured(float(value), None, method, None),
                collected.scored,
                {"of": self.dataset.metric, "templates": self.each},
                details if metric == "standard_deviation" else None,
            )
            for metric, value in spread.items()
        ]

    def _value(self, scored: Scored) -> float:
        return value_of(self.dataset.metric, scored.scores, scored.target, scored.right)
