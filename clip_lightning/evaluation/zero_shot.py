"""Zero-shot classification: classes are told apart by their names alone."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray as NDArray

from clip_lightning.data.labelled import LabelledDataset
from clip_lightning.evaluation.accuracy import mean_per_class, top_k_credit
from clip_lightning.evaluation.base import Context, Evaluator
from clip_lightning.results import Result
from clip_lightning.stats import bootstrap_mean_per_class, wilson_interval


class Scored(NamedTuple):
    """What ``ZeroShot`` collects.

    Args:
        target: Label of each image.
        missing: Number of images that could not be read.
        scores: Log-scores of the classes for each of them.
        right: Whether each class counts as right for each of them.
    """

    target: Int[NDArray, "images"]
    missing: int
    scores: Float[NDArray, "images classes"]
    right: Bool[NDArray, "images classes"]


class ZeroShot(Evaluator):
    """Accuracy, top-5 accuracy (of more than five classes) and mean per class of zero-shot classification.

    Equal scores share the hit, so a model that tells nothing apart gets chance level; a NaN is never right. Where the
    data set accepts several classes for an image, any of them is a hit, and the results' protocol says so.

    Args:
        dataset: Images, one label each, and the names of the labels.
        templates: Sentences with a ``{}`` for the name of the class; None takes the data set's own.
        name: First part of the results' names.

    Raises:
        ValueError: If there is no template, one has no ``{}``, or a class has no name.

    Source: Radford et al. 2021 (arXiv 2103.00020), sections 3.1.2 to 3.1.4.
    """

    def __init__(self, dataset: LabelledDataset, templates: list[str] | None = None, name: str = "zero_shot") -> None:
        self.dataset = dataset
        self.templates = dataset.templates if templates is None else templates
        self.prefix = f"{name}/{dataset.name}"
        if not self.templates or any("{}" not in template for template in self.templates):
            raise ValueError(f"templates {self.templates} must each have a {{}} where the name of the class goes")
        metrics = ("accuracy", "top_5_accuracy", "mean_per_class_accuracy")
        # Among five classes, one of them is always right.
        reported = [metric for metric in metrics if metric != "top_5_accuracy" or len(dataset.class_names) > 5]
        self.reports = [f"{self.prefix}/{metric}" for metric in reported]
        nameless = [label for label, names in enumerate(dataset.class_names) if not names]
        if nameless:
            raise ValueError(f"the classes {nameless} of {dataset.name!r} have no name; give each at least one")

    def collect(self, context: Context) -> Scored:
        """Scores every image against every class.

        Raises:
            ValueError: If a label has no class name, or the samples have several labels each.
        """
        features = context.images(self.dataset.source)
        target = self.dataset.targets(features.index)
        # Here, where all processes see it, and not in compute: the others would wait for the one that fails.
        self._check_labels(target)
        right = self._right(features.index, target)
        scores = context.class_scores(self.dataset.source, self.dataset.prompts(self.templates))
        assert scores.shape == (len(target), len(self.dataset.class_names)), scores.shape
        return Scored(target, len(features.missing), scores, right)

    def compute(self, collected: Scored) -> list[Result]:
        """The accuracies, each with a 95 % interval."""
        scores = collected.scores
        credit = top_k_credit(scores, collected.right, k=1)
        results = [self._proportion("accuracy", credit, collected)]
        if scores.shape[1] > 5:
            top_5 = top_k_credit(scores, collected.right, k=5)
            results.append(self._proportion("top_5_accuracy", top_5, collected))
        return [*results, self._mean_per_class(credit, collected)]

    def _right(
        self, indices: Int[NDArray, "images"], targets: Int[NDArray, "images"]
    ) -> Bool[NDArray, "images classes"]:
        """Whether each class is accepted for each image."""
        right = np.zeros((len(targets), len(self.dataset.class_names)), dtype=bool)
        for row, (index, target) in enumerate(zip(indices.tolist(), targets.tolist(), strict=True)):
            accepted = list(self.dataset.accepted(index))
            if target not in accepted or not all(0 <= label < right.shape[1] for label in accepted):
                raise ValueError(
                    f"{self.dataset.name!r} accepts the labels {accepted} for sample {index} of label {target}; they "
                    f"must be among 0 to {right.shape[1] - 1}, its own label with them"
                )
            right[row, accepted] = True
        return right

    def _check_labels(self, target: NDArray) -> None:
        """Refuses labels that the class names cannot stand for."""
        names = [names[0] for names in self.dataset.class_names]
        if target.ndim != 1:
            raise ValueError(f"{self.dataset.name!r} has several labels for a sample; zero-shot accuracy needs one")
        unnamed = sorted({int(label) for label in target if not 0 <= label < len(names)})
        if unnamed:
            raise ValueError(
                f"{self.dataset.name!r} has the labels {unnamed}, but its {len(names)} class names {names} stand for "
                f"0 to {len(names) - 1}; give one name a label, in the order of the labels"
            )

    def _proportion(self, metric: str, items: Float[NDArray, "samples"], collected: Scored) -> Result:
        interval = wilson_interval(float(items.sum()), len(items))
        return self._result(metric, float(items.mean()), interval, "wilson", items, collected)

    def _mean_per_class(self, items: Float[NDArray, "samples"], collected: Scored) -> Result:
        value = mean_per_class(items, collected.target)
        interval = bootstrap_mean_per_class(items, collected.target)
        method = "stratified bootstrap" if interval else "none: too few different samples to resample"
        return self._result("mean_per_class_accuracy", value, interval, method, items, collected)

    def _result(
        self,
        metric: str,
        value: float,
        interval: tuple[float, float] | None,
        method: str,
        items: Float[NDArray, "samples"],
        collected: Scored,
    ) -> Result:
        protocol = {
            "split": self.dataset.split,
            "class_names": self.dataset.class_names,
            "templates": self.templates,
            "ties": "shared",
        }
        if several := int((collected.right.sum(axis=1) > 1).sum()):
            protocol["right"] = f"any accepted class; {several} of {len(items)} samples have more than one"
        return Result(
            f"{self.prefix}/{metric}",
            value,
            interval,
            method,
            len(items),
            collected.missing,
            metric,
            protocol,
            self.dataset.name,
            items,
        )
