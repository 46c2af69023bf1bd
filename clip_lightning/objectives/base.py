"""The contract of an objective: what is learned from a batch, and how the result scores classes.

``encode`` works sample by sample and ``reduce`` over the whole batch and all processes. So a batch can be encoded in
parts without any objective knowing of it, and the loss is still that of the whole batch.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal, Protocol

from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from clip_lightning.batch import Batch
from clip_lightning.models import CLIP, Pixels
from clip_lightning.spec import HasSpec
from clip_lightning.text import Tokenizer


class Scorer(Protocol):
    """Zero-shot scoring, so that evaluation needs to know neither the objective nor the task."""

    kind: Literal["pooled", "features"]
    """Which rows of an image ``classes`` scores: what the image tower returns, or that projected."""

    def classes(
        self, prompts: list[list[str]]
    ) -> Callable[[Float[Tensor, "batch channels"]], Float[Tensor, "batch classes"]]:
        """Builds the classifier of the classes that are each described by a list of prompts.

        Returns:
            A function from rows of ``kind`` to log-scores, larger being likelier; their softmax is the probability.
        """

    def text_embeds(self, texts: Sequence[str]) -> Float[Tensor, "texts embed_dim"]:
        """Texts as unit vectors in the space of the image features.

        Raises:
            ValueError: If the model has no such space.
        """


class Objective(nn.Module, HasSpec, ABC):
    """Base of everything that can be learned from a batch of image-text pairs.

    Attributes:
        needs: Which of "image", "text" and "logit_scale" it trains; the task freezes the rest.
        reports: Names of the scalars that ``reduce`` returns to be logged.
        max_scale: Largest factor on cosine similarities, the inverse of the lowest temperature; the paper's by default.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"image", "text", "logit_scale"})
    reports: ClassVar[tuple[str, ...]] = ("loss",)
    max_scale: float = 100.0

    def setup(self, model: CLIP) -> None:
        """Adds heads that depend on the model, and sets the initial scale and bias."""

    def views(self) -> dict[str, tuple[Pixels, Tokenizer]]:
        """Further versions of each sample that it wants in ``Batch.views``, such as a teacher's."""
        return {}

    @abstractmethod
    def encode(self, model: CLIP, batch: Batch) -> dict[str, Tensor]:
        """What ``reduce`` needs, batch first, each row a function of its own sample alone."""

    @abstractmethod
    def reduce(self, model: CLIP, encoded: dict[str, Tensor], group: ProcessGroup | None = None) -> dict[str, Tensor]:
        """Joins the rows of all processes.

        Returns:
            The scalar "loss" over the whole batch, "pairs", the number of pairs in it, and further scalars to log; all
            equal in all processes.
        """

    def chance_loss(self, pairs: int) -> float | None:
        """Loss of a batch of so many pairs whose similarities are all equal; None where that is no sign of anything."""
        return None

    @abstractmethod
    def scorer(self, model: CLIP, tokenizer: Tokenizer) -> Scorer:
        """How a model trained with this objective scores classes."""
