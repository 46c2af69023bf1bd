"""The contract of a tokeniser."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from jaxtyping import Int
from torch import Tensor

from clip_lightning.spec import HasSpec


class Captions(ABC):
    """Anything that has captions to learn a vocabulary from, such as a data source."""

    @abstractmethod
    def captions(self) -> Iterator[str]:
        """Every caption once, in a fixed order."""


class Tokenizer(HasSpec, ABC):
    """Turns texts into rows of token ids.

    The end-of-text id is the largest id and occurs exactly once in a row, so a row's length can be read off it; the
    padding id may be that of a real token (CLIP pads with 0, which is "!"), so no mask may be made from ids.

    Attributes:
        context_length: Tokens in a row, start and end included.
        vocab_size: Number of ids.
        pad_id: Id that fills a row behind its end.
        eos_id: Id that ends a text: ``vocab_size - 1``.
    """

    context_length: int
    vocab_size: int
    pad_id: int
    eos_id: int

    def decode(self, ids: Sequence[int]) -> str | None:
        """The text that token ids stand for, to be looked at; None where a tokeniser cannot tell.

        Args:
            ids: Ids of the text alone, without start, end and padding.
        """
        return None

    @abstractmethod
    def __call__(self, texts: list[str]) -> Int[Tensor, "batch context_length"]:
        """Token ids as int64, cut to the context with the end kept, padded with ``pad_id``."""
