"""What a table in a file is."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

Row = dict[str, Any]


class Record(NamedTuple):
    """A row, where it stands, and how to find it again.

    Args:
        place: Path and line number (of a Parquet file the row number), from 1, for messages.
        key: What ``Table.rows`` takes.
        row: The value in each column.
    """

    place: str
    key: int
    row: Row


class Table(ABC):
    """Rows of a file.

    Args:
        path: The file.

    Attributes:
        path: The file.
        texts: Whether all values are texts, so that the number 3 is written "3".
    """

    texts = False

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def scan(self) -> Iterator[Record]:
        """Every row, in order; blank lines are none.

        Raises:
            ValueError: If the file cannot be read or a row is not well formed, with the path and line.
        """

    @abstractmethod
    def rows(self, keys: Iterable[int]) -> Iterator[Row]:
        """The rows of keys that ``scan`` gave, in the order of the keys."""

    @abstractmethod
    def place(self, key: int) -> str:
        """Where a row stands, at the cost of counting the lines before it."""
