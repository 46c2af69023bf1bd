"""The contract of a tokeniser."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from jaxtyping import Int
from torch import Tensor

from clip_lightning.spec import HasSpec


def text_lengths(text: Int[Tensor, "batch tokens"], eos_id: int) -> Int[Tensor, "batch"]:
    """Tokens of each row up to and with its first end-of-text id, which every row has."""
    return (text == eos_id).int().argmax(dim=-1) + 1


class Captions(ABC):
    """Anything that has captions to learn a vocabulary from, such as a data source."""

    @abstractmethod
    def captions(self) -> Iterator[str]:
        """Every caption once, in a fixed order."""


class Tokenizer(HasSpec, ABC):
    """Turns texts into rows of token ids.

    The end-of-text id occurs exactly once in a row, so a row's length can be read off it; the padding id may be that of
    a real token (CLIP pads with 0, which is "!"), so no mask may be made from ids.

    Attributes:
        context_length: Tokens in a row, start and end included.
        vocab_size: Number of ids.
        pad_id: Id that fills a row behind its end.
        eos_id: Id that ends a text; in CLIP's vocabulary and our own it is the largest, ``vocab_size - 1``.
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

    def cuts(self, text: str) -> bool:
        """Whether a text is longer than the context, so that its end is lost.

        A tokeniser that cannot tell supposes it of every text that fills the context.
        """
        return bool(self([text])[0, -1] == self.eos_id)

    @abstractmethod
    def __call__(self, texts: list[str]) -> Int[Tensor, "batch context_length"]:
        """Token ids as int64, cut to the context with the end kept, padded with ``pad_id``."""
