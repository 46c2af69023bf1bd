"""The contract of a labelled data set for evaluation."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np

from clip_lightning.data.base import Source
from clip_lightning.spec import HasSpec


class LabelledDataset(HasSpec, ABC):
    """Images with a label each, the names of the labels, and templates to put the names into.

    Attributes:
        name: Short name, part of a metric's key.
        split: Which part of the data it is, such as "test".
        source: Where the images are; index i here is index i there.
        class_names: One or several names a class, in the order of the labels.
        templates: Sentences with a ``{}`` each.
    """

    name: str
    split: str
    source: Source
    class_names: list[list[str]]
    templates: list[str]

    @abstractmethod
    def target(self, index: int) -> int | np.ndarray:
        """Label of a sample: an int in [0, number of classes), or a 0/1 array over the classes (multi-label)."""

    def accepted(self, index: int) -> Sequence[int]:
        """Labels that count as right for a sample of one label, its own among them.

        That is its own alone, unless a picture goes under several names, as some emoji do.
        """
        return (int(self.target(index)),)

    def groups(self, index: int) -> Mapping[str, str]:
        """Attributes of a sample by which results can be broken down."""
        return {}

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.source)
