"""Zero-shot classification: classes are told apart by their names alone."""

from pathlib import Path
from typing import Any

from clip_lightning.data.labelled import LabelledDataset
from clip_lightning.evaluation.class_scores import ClassScoresEvaluator, Scored
from clip_lightning.evaluation.confusion import most_confused, per_class
from clip_lightning.evaluation.labels import label_names
from clip_lightning.evaluation.metrics import MULTI_LABEL, Measured, measure
from clip_lightning.results import Result


class ZeroShot(ClassScoresEvaluator):
    """The data set's own metric, and accuracy, top-5 accuracy (of more than five classes) and mean per class.

    Of samples with several labels each, the data set's own metric is the only one. Equal scores share the hit, so a
    model that tells nothing apart gets chance level; a NaN is never right. Where the data set accepts several classes
    for an image, any of them is a hit, and the results' protocol says so.

    Args:
        dataset: Images, labels, and the names of the classes.
        templates: Sentences with a ``{}`` for the name of the class; None takes the data set's own.
        name: First part of the results' names.

    Raises:
        ValueError: If a template has no place for the name, a class has no name, or names cannot be the labels'.

    Source: Radford et al. 2021 (arXiv 2103.00020), sections 3.1.2 to 3.1.4.
    """

    def __init__(
        self, dataset: LabelledDataset, templates: list[str] | str | Path | None = None, name: str = "zero_shot"
    ) -> None:
        super().__init__(dataset, templates, name)
        self.metrics = _metrics(dataset)
        self.reports = [f"{self.prefix}/{metric}" for metric in self.metrics]

    def compute(self, collected: Scored) -> list[Result]:
        """The metrics, each with a 95 % interval; the accuracies with a table of classes and of what is confused."""
        scores, target, right, _ = collected
        measured = {metric: measure(metric, scores, target, right) for metric in self.metrics}
        details = self._details(collected, measured) if "accuracy" in measured else {}
        return [self.result(metric, one, collected, details=details.get(metric)) for metric, one in measured.items()]

    def _details(self, collected: Scored, measured: dict[str, Measured]) -> dict[str, dict[str, Any]]:
        """What stands behind some of the metrics."""
        scores, target, right, _ = collected
        names, hits = label_names(self.dataset), measured["accuracy"].items
        assert hits is not None
        return {
            "accuracy": most_confused(scores, right, target, names),
            "mean_per_class_accuracy": per_class(hits, target, names),
        }


def _metrics(dataset: LabelledDataset) -> list[str]:
    """The data set's own metric first, which models are compared by."""
    if dataset.metric in MULTI_LABEL:
        return [dataset.metric]
    # Among five classes, one of the five best is always right.
    has_top_5 = len(label_names(dataset)) > 5
    others = ["accuracy", *["top_5_accuracy"] * has_top_5, "mean_per_class_accuracy"]
    return list(dict.fromkeys([dataset.metric, *others]))
