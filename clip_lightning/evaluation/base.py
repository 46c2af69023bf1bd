"""The contract of an evaluator. It sees features and scores, never a model, so it runs alike in and after training."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Any, Protocol, Self

from jaxtyping import Float
from numpy import ndarray as NDArray

from clip_lightning.data.base import Source
from clip_lightning.data.features import Features, Stage
from clip_lightning.results import Result
from clip_lightning.spec import HasSpec


class Context(Protocol):
    """What an evaluator may ask for. Every method is collective: all processes call it, and get the same."""

    def images(self, source: Source, stage: Stage = "features") -> Features:
        """Rows of every image of a source, each index exactly once whatever the number of processes."""

    def class_scores(self, source: Source, prompts: list[list[str]]) -> Float[NDArray, "images classes"]:
        """Log-scores for the rows of ``images``, of classes that are each described by some texts."""

    def text_embeds(self, texts: Sequence[str]) -> Float[NDArray, "texts embed_dim"]:
        """Texts as unit vectors in the space of the image features.

        Raises:
            ValueError: If the model has no such space.
        """


class Evaluator(HasSpec, ABC):
    """Measures something on labelled data.

    Attributes:
        prefix: What the names of its results begin with, such as "zero_shot/shape_scenes".
        reports: Names of its results, prefix and metric; the first is the one that models are compared by.
        needs: Which methods of ``Context`` it calls that not every model can serve: "class_scores", "text_embeds".
    """

    prefix: str
    reports: Sequence[str]
    needs: frozenset[str] = frozenset()

    def without(self, lacking: Collection[str]) -> Self | None:
        """What can be measured of a model that does not serve some methods of ``Context``; None if nothing.

        Args:
            lacking: Names of the methods.
        """
        return None if self.needs & frozenset(lacking) else self

    @abstractmethod
    def collect(self, context: Context) -> Any:
        """Gathers what ``compute`` needs, on all processes."""

    @abstractmethod
    def compute(self, collected: Any) -> list[Result]:
        """Results from what was collected, on one process; numpy and scikit-learn, no model."""
