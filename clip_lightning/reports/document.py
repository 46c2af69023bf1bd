"""A report as plain content: sections of text, tables and plots. How it looks is the templates' affair."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Args:
        cells: One for each column.
        is_strong: Whether it is one of those that matter most.
        is_first: Whether a new group begins with it.
    """

    cells: Sequence[str]
    is_strong: bool = False
    is_first: bool = False


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        caption: What it shows, in a sentence.
        columns: Their heads. One that begins with ">" is of numbers, which stand to the right.
        rows: What is seen at once.
        folded: Further rows, which a reader unfolds.
        notes: What stands below it.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Row]
    folded: Sequence[Row] = ()
    notes: Sequence[str] = ()

    @property
    def heads(self) -> list[tuple[str, bool]]:
        """Each column's head, and whether its cells are numbers."""
        return [(column.removeprefix(">"), column.startswith(">")) for column in self.columns]


@dataclass(frozen=True)
class Plot:
    """A picture.

    Args:
        caption: What is found in it.
        svg: The picture.
        width: In inches.
    """

    caption: str
    svg: bytes
    width: float


@dataclass(frozen=True)
class Folded:
    """Blocks that a reader unfolds.

    Args:
        title: What is seen of them.
        blocks: What is in them.
    """

    title: str
    blocks: Sequence["Block"]


@dataclass(frozen=True)
class Facts:
    """Names and their values, a line each.

    Args:
        values: Both are plain text.
    """

    values: Mapping[str, str]


Block = str | Table | Plot | Folded | Facts
"""A text is a paragraph."""


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Args:
        title: Headline.
        blocks: From top to bottom.
        parts: Sections within it.
    """

    title: str
    blocks: Sequence[Block] = ()
    parts: Sequence["Section"] = ()


@dataclass(frozen=True)
class Document:
    """A report.

    Args:
        title: Headline.
        facts: What it is of, and what it was made by.
        blocks: The answer, which is seen first.
        sections: What it rests on.
    """

    title: str
    facts: Mapping[str, str]
    blocks: Sequence[Block] = ()
    sections: Sequence[Section] = field(default_factory=list)
