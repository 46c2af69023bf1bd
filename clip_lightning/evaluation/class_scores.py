"""Zero-shot scores of a labelled data set, which several evaluators look at from their own side."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from jaxtyping import Bool, Float, Int
from numpy import ndarray as NDArray

from clip_lightning.data.labelled import LabelledDataset
from clip_lightning.evaluation.base import Context, Evaluator
from clip_lightning.evaluation.labels import (
    accepted_labels,
    check_labels,
    check_names,
    check_prompts,
    label_names,
    pool,
    right_protocol,
)
from clip_lightning.evaluation.metrics import MULTI_LABEL, PER_CLASS, Measured
from clip_lightning.results import Result
from clip_lightning.text import fill_templates, read_templates


class Scored(NamedTuple):
    """The images of a data set that could be read.

    Args:
        scores: Log-score of each label for each image.
        target: Label of each image, or 0/1 for each label (multi-label).
        right: Whether each label counts as right for each image.
        missing: Number of images that could not be read.
    """

    scores: Float[NDArray, "images labels"]
    target: Int[NDArray, "images *labels"]
    right: Bool[NDArray, "images labels"]
    missing: int


def collect_scores(context: Context, dataset: LabelledDataset, prompts: list[list[str]]) -> Scored:
    """Scores every image against every label. Collective.

    Args:
        context: What the model is asked by.
        dataset: Images and labels.
        prompts: Texts of each class.

    Raises:
        ValueError: If labels and names do not fit.
    """
    features = context.images(dataset.source)
    target = dataset.targets(features.index)
    # Here, where all processes see it, and not where one computes: the others would wait for the one that fails.
    check_labels(dataset, target)
    right = target.astype(bool) if target.ndim == 2 else accepted_labels(dataset, features.index, target)
    return Scored(label_scores(context, dataset, prompts), target, right, len(features.missing))


def label_scores(
    context: Context, dataset: LabelledDataset, prompts: list[list[str]]
) -> Float[NDArray, "images labels"]:
    """Log-scores of the labels for every image that can be read. Collective."""
    return pool(context.class_scores(dataset.source, prompts), dataset)


class ClassScoresEvaluator(Evaluator):
    """Base of what is measured on the zero-shot scores of one data set.

    Args:
        dataset: Images, labels, and the names of the classes.
        templates: Templates in any form that ``read_templates`` takes; None takes the data set's own.
        name: First part of the results' names.

    Raises:
        ValueError: If a template has no place for the name, a class has no name or no text, or names cannot be the
            labels'.
    """

    needs = frozenset({"class_scores"})

    def __init__(self, dataset: LabelledDataset, templates: list[str] | str | Path | None, name: str) -> None:
        check_names(dataset)
        self.dataset = dataset
        self.templates = None if templates is None else read_templates(templates)
        self.prompts = dataset.prompts(self.templates)
        check_prompts(dataset, self.prompts)
        self.prefix = f"{name}/{dataset.name}"

    def collect(self, context: Context) -> Any:
        """Scores every image against every class.

        Raises:
            ValueError: If labels and names do not fit.
        """
        return collect_scores(context, self.dataset, self.prompts)

    def result(
        self,
        metric: str,
        measured: Measured,
        scored: Scored,
        protocol: Mapping[str, Any] = MappingProxyType({}),
        details: dict[str, Any] | None = None,
        unit: str = "",
    ) -> Result:
        """A measured figure with what it stands on.

        Args:
            metric: Last part of its name.
            measured: The figure.
            scored: The images that it is of.
            protocol: What determines it beside classes, templates and split, or instead of them.
            details: As of ``Result``.
            unit: As of ``Result``.
        """
        value, interval, method, items = measured
        return Result(
            name=f"{self.prefix}/{metric}",
            value=value,
            interval=interval,
            method=method,
            n=len(scored.target),
            missing=scored.missing,
            metric=metric,
            protocol=self._protocol(scored) | dict(protocol),
            source=self.dataset.name,
            items=items,
            details=details,
            strata=scored.target if metric == PER_CLASS else None,
            unit=unit,
        )

    def _protocol(self, scored: Scored) -> dict[str, Any]:
        templates = self.dataset.templates if self.templates is None else self.templates
        protocol: dict[str, Any] = {
            "split": self.dataset.split,
            "class_names": self.dataset.class_names,
            "templates": templates,
            "ties": "shared",
        }
        if not templates or self.prompts != fill_templates(self.dataset.class_names, templates):
            protocol["templates"] = "texts of each class's own"
            protocol["prompts"] = self.prompts
        if self.dataset.published_size is not None:
            protocol["published_size"] = self.dataset.published_size
        if self.dataset.pooled is not None:
            protocol["pooled"] = "a label has the score of the best of the finer classes that stand for it"
        if scored.target.ndim == 1:
            protocol |= right_protocol(scored.right)
        if absent := _without_images(self.dataset, scored):
            protocol["labels_without_images"] = absent
        return protocol


class OneLabelEvaluator(ClassScoresEvaluator):
    """Base of what is measured on probabilities, which are of classes that exclude each other."""

    def __init__(self, dataset: LabelledDataset, templates: list[str] | str | Path | None, name: str) -> None:
        super().__init__(dataset, templates, name)
        if dataset.metric in MULTI_LABEL:
            raise ValueError(
                f"the samples of {dataset.name!r} have several labels; {type(self).__name__} needs one each"
            )


def _without_images(dataset: LabelledDataset, scored: Scored) -> list[str]:
    """Names of the labels that no image has."""
    occurring = scored.target.any(axis=0).nonzero()[0] if scored.target.ndim == 2 else scored.target
    present = set(occurring.tolist())
    return [name for label, name in enumerate(label_names(dataset)) if label not in present]
