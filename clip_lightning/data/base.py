"""The contract of a data source: random access to raw samples, without torch and safe to send to a worker process."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from clip_lightning.spec import HasSpec
from clip_lightning.text import Captions


@dataclass(frozen=True)
class RawSample:
    """One sample as it is stored.

    Args:
        image: An encoded image file, or decoded pixels as uint8 [height, width, 3].
        captions: The texts that go with it; one at least, unless the source is only of a labelled data set.
    """

    image: bytes | np.ndarray
    captions: tuple[str, ...]


class Damaged(Exception):  # noqa: N818 (a finding about the data, not a fault of the program)
    """A sample that cannot be used; its message is the reason, in few words, by which such samples are counted."""


class Source(HasSpec, Captions):
    """Image-text samples by index.

    Attributes:
        name: Short name for logs and metrics.
    """

    name: str

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of what the source holds: equal fingerprints mean equal samples."""

    @property
    @abstractmethod
    def block_sizes(self) -> Sequence[int]:
        """Samples in each block (shard) in the order of the indices; a manifest is one block."""

    @abstractmethod
    def read(self, index: int) -> RawSample:
        """The sample at an index.

        Raises:
            Damaged: If it cannot be used, with the reason.
        """

    def place(self, index: int) -> str:
        """Where the sample at an index is to be found, for messages."""
        return f"{self.name}, sample {index}"

    @abstractmethod
    def captions(self) -> Iterator[str]:
        """Every caption once, in the order of the indices, without reading images."""

    def __len__(self) -> int:
        """Number of samples."""
        return sum(self.block_sizes)
