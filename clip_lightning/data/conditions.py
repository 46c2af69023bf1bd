"""Which rows of a table are taken."""

from collections.abc import Iterator, Mapping
from typing import Any

from clip_lightning.data.tables import Record, Row, Table

Where = Mapping[str, Any]
_SHOWN = 10


def cell(row: Row, column: str, place: str) -> Any:
    """The value of a column.

    Raises:
        ValueError: If the row has no such column, with the columns it has.
    """
    if column not in row:
        raise ValueError(f"{place} has no column {column!r}; its columns are {sorted(row)}: name the right one")
    return row[column]


def select(table: Table, where: Where | None = None) -> Iterator[Record]:
    """The rows that meet all conditions, in order.

    Args:
        table: The rows.
        where: For each column the value that a row must have in it, a list of values of which it must have one, or
            ``{not: ...}`` with a value or a list of which it must have none: ``{split: [train, val], group: {not:
            Flags}}``. Where all values are texts, a number is compared as it is written, and null with the empty text.

    Raises:
        ValueError: If the file or a row is wrong, a column of ``where`` is missing, or no row is taken.
    """
    conditions = [_Condition(column, wanted, table.texts) for column, wanted in (where or {}).items()]
    taken = False
    for record in table.scan():
        # All are asked, so that a column that is missing is found in any row.
        if all([condition.is_met(record) for condition in conditions]):
            taken = True
            yield record
    if not taken:
        there = "; ".join(condition.found() for condition in conditions)
        raise ValueError(f"{table.path} has no rows" + (f" where {dict(where)}; there, {there}" if where else ""))


class _Condition:
    """What a row must have in a column, and what the rows have in it.

    Args:
        column: Its name.
        wanted: A value, a list of values, or ``{"not": ...}``.
        texts: Whether the rows hold texts only.
    """

    def __init__(self, column: str, wanted: Any, texts: bool) -> None:
        self._column = column
        self._negated = isinstance(wanted, Mapping)
        if isinstance(wanted, Mapping):
            if set(wanted) != {"not"}:
                raise ValueError(f"where {column} is {dict(wanted)}; give a value, a list of values, or {{not: ...}}")
            wanted = wanted["not"]
        values = wanted if isinstance(wanted, list | tuple) else [wanted]
        self._values = [text for value in values for text in _spellings(value)] if texts else list(values)
        self._found: list[str] = []

    def is_met(self, record: Record) -> bool:
        """Whether a row is taken as far as this column goes."""
        value = cell(record.row, self._column, record.place)
        if len(self._found) < _SHOWN and repr(value) not in self._found:
            self._found.append(repr(value))
        return (value in self._values) != self._negated

    def found(self) -> str:
        """What the rows have, for messages."""
        return f"{self._column} is one of {sorted(self._found)}" if self._found else f"{self._column} is in no row"


def _spellings(value: Any) -> list[str]:
    """How a value is written where all values are texts."""
    if value is None:
        return [""]
    if isinstance(value, bool):
        return [str(value), str(value).lower(), str(value).upper()]
    return [str(value)]
