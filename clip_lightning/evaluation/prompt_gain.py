"""What prompts are worth: bare names, one template, an ensemble."""

from pathlib import Path

from clip_lightning.data.labelled import LabelledDataset
from clip_lightning.evaluation.base import Context
from clip_lightning.evaluation.class_scores import ClassScoresEvaluator, Scored, collect_scores, label_scores
from clip_lightning.evaluation.metrics import gain, measure
from clip_lightning.results import Result
from clip_lightning.text import read_templates

# Of two ways to make prompts, what the second gains over the first.
_GAINS = {
    "gain": ("bare_names", "ensemble"),
    "gain_by_template": ("bare_names", "one_template"),
    "gain_by_ensemble": ("one_template", "ensemble"),
}


class PromptGain(ClassScoresEvaluator):
    """The data set's own metric with bare class names, one template and an ensemble, and the gains between them.

    Gains have paired intervals: what is uncertain is the difference on these images.

    Args:
        dataset: Images, labels, and the names of the classes.
        template: The one template.
        templates: The ensemble's, in any form that ``read_templates`` takes; None takes the data set's own.
        name: First part of the results' names.

    Raises:
        ValueError: As ``ZeroShot``.

    Source: Radford et al. 2021 (arXiv 2103.00020), section 3.1.4 and figure 4.
    """

    def __init__(
        self,
        dataset: LabelledDataset,
        template: str = "a photo of a {}.",
        templates: list[str] | str | Path | None = None,
        name: str = "prompts",
    ) -> None:
        super().__init__(dataset, templates, name)
        self.ways = {
            "bare_names": ["{}"],
            "one_template": read_templates([template]),
            "ensemble": self.templates or dataset.templates,
        }
        self.reports = [f"{self.prefix}/{metric}" for metric in [*_GAINS, *self.ways]]

    def collect(self, context: Context) -> dict[str, Scored]:
        """Scores of every image with each way to make prompts."""
        scored = collect_scores(context, self.dataset, self.prompts)
        others = {way: self.dataset.prompts(own) for way, own in self.ways.items() if way != "ensemble"}
        scores = {way: label_scores(context, self.dataset, own) for way, own in others.items()}
        return {"ensemble": scored} | {way: scored._replace(scores=own) for way, own in scores.items()}

    def compute(self, collected: dict[str, Scored]) -> list[Result]:
        """The gains, and the figures that they are between."""
        metric = self.dataset.metric
        _, target, right, _ = ensemble = collected["ensemble"]
        scores = {way: scored.scores for way, scored in collected.items()}
        measured = {name: gain(metric, scores[to], scores[of], target, right) for name, (of, to) in _GAINS.items()}
        measured |= {way: measure(metric, scores[way], target, right) for way in self.ways}
        return [
            self.result(name, one, ensemble, {"of": metric, "templates": self.ways.get(name, self.ways)})
            for name, one in measured.items()
        ]
