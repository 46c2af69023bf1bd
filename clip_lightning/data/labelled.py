"""The contract of a labelled data set for evaluation."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import numpy as np
from jaxtyping import Int
from numpy import ndarray as NDArray

from clip_lightning.data.base import Source
from clip_lightning.spec import HasSpec
from clip_lightning.text import fill_templates

Metric = Literal[
    "accuracy",
    "top_5_accuracy",
    "mean_per_class_accuracy",
    "mean_of_top_1_and_top_5",
    "mean_average_precision_11_point",
    "roc_auc",
]
"""What publications report of a labelled set."""


class LabelledDataset(HasSpec, ABC):
    """Images with a label each, the names of the labels, and templates to put the names into.

    Attributes:
        name: Short name, part of a metric's key.
        split: Which part of the data it is, such as "test".
        source: Where the images are; index i here is index i there.
        class_names: One or several names of each class that is scored, in the order of the labels.
        templates: Sentences with a ``{}`` each.
        metric: The metric that models are compared by on this data set, as its publications have it.
        pooled: Label of each class that is scored, where several finer classes stand for one label: the best of them
            is its score. None where classes are labels.
        known_names: Names that are known to be those of some labels, wherever the list of names comes from. Evaluation
            refuses a list in another order, as one that is sorted as text, where "10" comes before "3". Only sets whose
            labels are numbers take them: where a class is a folder or a word, its name stands beside it.
        published_size: Number of samples that publications report, or None.
    """

    name: str
    split: str
    source: Source
    class_names: list[list[str]]
    templates: list[str]
    metric: str = "accuracy"
    pooled: Sequence[int] | None = None
    known_names: Mapping[int, str] = MappingProxyType({})
    published_size: int | None = None

    @abstractmethod
    def target(self, index: int) -> int | np.ndarray:
        """Label of a sample: an int in [0, number of classes), or a 0/1 array over the classes (multi-label)."""

    def accepted(self, index: int) -> Sequence[int]:
        """Labels that count as right for a sample of one label, its own among them.

        That is its own alone, unless a picture goes under several names, as some emoji do.
        """
        return (int(self.target(index)),)

    def targets(self, index: Int[NDArray, "images"]) -> Int[NDArray, "images *classes"]:
        """Labels of the samples at the indices: int64, or rows of 0 and 1 (multi-label)."""
        return np.asarray([self.target(int(place)) for place in index], dtype=np.int64)

    def prompts(self, templates: list[str] | None = None) -> list[list[str]]:
        """The texts that describe each scored class: every name of it in every template.

        A data set whose classes have texts of their own returns these where no templates are given.

        Args:
            templates: Sentences with a ``{}`` each; None takes the data set's own.

        Raises:
            ValueError: If there is no template, or one has no ``{}``.
        """
        return fill_templates(self.class_names, self.templates if templates is None else templates)

    def groups(self, index: int) -> Mapping[str, str]:
        """Attributes of a sample by which results can be broken down."""
        return {}

    def tell_size(self) -> None:
        """Warns where there is another number of samples than publications report."""
        if self.published_size not in (None, len(self)):
            warnings.warn(
                f"{self.name} has {len(self):,} samples, but {self.published_size:,} are published", stacklevel=3
            )

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.source)
