"""Images of a manifest that show the same pixels under several labels."""

from collections.abc import Mapping, Set
from typing import Any, NamedTuple

from clip_lightning.data.conditions import cell
from clip_lightning.data.manifest_classes import Label, label_of_row
from clip_lightning.data.tables import Record, Table


class SameColumns(NamedTuple):
    """Columns that say which rows show the same pixels.

    Args:
        same_as: Identifier, or list of identifiers, of other rows with the same pixels; null, blank or an empty list
            for none.
        identifier: What identifies a row.
        label: The row's label.
    """

    same_as: str
    identifier: str
    label: str


def labels_of_same_pixels(table: Table, columns: SameColumns) -> Mapping[Any, Set[Label]]:
    """For each identifier of a row whose pixels occur in other rows too, the labels of all rows with these pixels.

    Args:
        table: All rows, whichever are evaluated.
        columns: Where identifiers and labels are. A row with the same pixels as a second that has those of a third has
            those of the third as well.

    Raises:
        ValueError: If an identifier belongs to no row or to several, with the path and line.
    """
    groups, places = _groups(table, columns)
    label_of: dict[Any, Label] = {}
    for place, _, row in table.scan():
        identifier = cell(row, columns.identifier, place)
        if isinstance(identifier, str | int) and identifier in groups:
            if identifier in label_of:
                raise ValueError(f"{place}: {columns.identifier} {identifier!r} occurs twice, but others refer to it")
            label_of[identifier] = label_of_row(row, columns.label, place)
    for identifier, place in places.items():
        if identifier not in label_of:
            raise ValueError(
                f"{place}: {columns.same_as} is {identifier!r}, which is the {columns.identifier} of no row; correct it"
            )
    # One set for all rows of a group: a picture that stands for many missing ones makes a large group.
    distinct = {id(group): group for group in groups.values()}
    labels = {key: {label_of[one] for one in group} for key, group in distinct.items()}
    return {one: labels[id(group)] for one, group in groups.items()}


def _groups(table: Table, columns: SameColumns) -> tuple[dict[Any, set[Any]], dict[Any, str]]:
    """Identifiers of the same pixels, and for each that a row refers to the place where it does."""
    groups: dict[Any, set[Any]] = {}
    places: dict[Any, str] = {}
    for record in table.scan():
        for other in _others(record, columns):
            places.setdefault(other, record.place)
            identifier = _identifier(
                cell(record.row, columns.identifier, record.place), columns.identifier, record.place
            )
            small, large = sorted((groups.get(each, {each}) for each in (identifier, other)), key=len)
            large |= small
            groups.update(dict.fromkeys((identifier, other, *small), large))
    return groups, places


def _others(record: Record, columns: SameColumns) -> list[Any]:
    value = cell(record.row, columns.same_as, record.place)
    if value is None or value == "":
        return []
    others = value if isinstance(value, list) else [value]
    return [_identifier(other, columns.same_as, record.place) for other in others]


def _identifier(value: Any, column: str, place: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise ValueError(f"{place}: {column} holds {value!r}; it must identify a row")
    return value
