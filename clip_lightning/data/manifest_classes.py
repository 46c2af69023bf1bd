"""The classes that the labels of a manifest stand for."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clip_lightning.data.class_names import NamedClass, distinct, named, read_class_names
from clip_lightning.data.conditions import cell, select
from clip_lightning.data.tables import SUFFIXES, Row, Table, open_table

Label = int | str
ClassNames = Sequence[str | list[str]] | str | Path


class ManifestClasses:
    """Which class a label stands for, and what the classes are called.

    Args:
        table: The manifest whose labels are asked for.
        label_column: Column with the label, a number from 0 or a name.
        class_names: Names for each class, a text file of them, or another manifest with the classes.
        class_name_column: Column with the names of each row's class.
        class_where: Which rows have the classes.
        columns: Names of the columns of a CSV or TSV file without a header row.

    Attributes:
        names: One or several names for each class.

    Raises:
        ValueError: If labels and names do not fit, with the path and line.
    """

    def __init__(
        self,
        table: Table,
        label_column: str,
        class_names: ClassNames | None,
        class_name_column: str | None,
        class_where: Mapping[str, Any] | None,
        columns: Sequence[str] | None,
    ) -> None:
        self._column = label_column
        self._texts = table.texts
        self._number_of: dict[Label, int]
        manifest = _manifest(class_names)
        self._are_listed = class_names is not None and manifest is None
        if class_names is not None and manifest is None:
            if class_name_column is not None or class_where is not None:
                raise ValueError(
                    "give class_names as a list or text file, or class_name_column and class_where, not both"
                )
            classes = read_class_names(class_names)
            # A label may be any name of its class, or its number.
            self._number_of = {name: number for number, one in enumerate(classes) for name in one.names}
            self._number_of.update((number, number) for number in range(len(classes)))
        else:
            if manifest is not None:
                needed = [label_column, *([class_name_column] if class_name_column else []), *(class_where or {})]
                table = open_table(manifest, needed, columns)
            found = _Found(table, label_column, class_name_column, class_where)
            classes = found.classes()
            self._number_of = {label: number for number, label in enumerate(found.labels())}
        self.names = [one.names for one in classes]
        self._places = [one.place for one in classes]
        self._kind = _Kind()

    def number(self, row: Row, place: str) -> int:
        """The class of a row.

        Raises:
            ValueError: If its label is of no class, with the place.
        """
        label = label_of_row(row, self._column, place)
        if not self._texts:
            self._kind.check(label, place)
        number = self._find(label)
        if number is None:
            raise ValueError(
                f"{place}: {self._column} {label!r} is none of the {len(self.names)} classes; correct it or the names"
            )
        return number

    def known(self, labels: Iterable[Label]) -> tuple[int, ...]:
        """The classes of labels, ascending, without labels that are none."""
        return tuple(sorted({number for label in labels if (number := self._find(label)) is not None}))

    def check_that_all_occur(self, table: Table) -> None:
        """Makes sure that each class of a list or text file has a row, evaluated or not.

        Raises:
            ValueError: If one has none, with its name.
        """
        if not self._are_listed:
            return
        found = {self._find(label_of_row(row, self._column, place)) for place, _, row in table.scan()}
        if empty := [number for number in range(len(self.names)) if number not in found]:
            names = [self.names[number][0] for number in empty]
            raise ValueError(
                f"{table.path} has no image of the classes {names} ({self._places[empty[0]]}); remove their names, or "
                "set allow_empty_classes"
            )

    def _find(self, label: Label) -> int | None:
        number = self._number_of.get(label)
        if number is None and self._texts and isinstance(label, str) and _is_number(label):
            number = self._number_of.get(int(label))
        return number


class _Found:
    """Labels and names of classes as rows give them."""

    def __init__(
        self, table: Table, label_column: str, class_name_column: str | None, where: Mapping[str, Any] | None
    ) -> None:
        self._what = f"the labels in column {label_column!r} of {table.path}"
        self._is_whole = where is None
        self._is_named = class_name_column is not None
        self._classes: dict[Label, NamedClass] = {}
        kind = _Kind()
        for place, _, row in select(table, where):
            label = label_of_row(row, label_column, place)
            known = self._classes.get(label)
            if not table.texts:
                kind.check(label, place)
            if known is None or class_name_column is not None:
                one = named(place, cell(row, class_name_column, place) if class_name_column else label)
                if known is not None and known.names != one.names:
                    raise ValueError(f"{place}: label {label!r} is named {one.names}, but {known.names} before")
                self._classes.setdefault(label, one)
        if table.texts and all(isinstance(label, str) and _is_number(label) for label in self._classes):
            self._classes = {int(label): one for label, one in self._classes.items()}

    def labels(self) -> list[Label]:
        """The labels in the order of the classes."""
        return sorted(self._classes)

    def classes(self) -> list[NamedClass]:
        """The classes in the order of their labels."""
        labels = self.labels()
        if isinstance(labels[0], int):
            if not self._is_named:
                raise ValueError(f"{self._what} are numbers; name the classes by class_names or class_name_column")
            if self._is_whole and labels != list(range(len(labels))):
                raise ValueError(
                    f"{self._what} are not the numbers from 0 to {len(labels) - 1}, so rows cannot name all classes; "
                    "give class_names, or choose classes by class_where"
                )
        return distinct(self._classes[label] for label in labels)


class _Kind:
    """Whether labels are numbers or names, as the first is; where all values are texts, that shows only at the end."""

    def __init__(self) -> None:
        self._first: Label | None = None

    def check(self, label: Label, place: str) -> None:
        if self._first is None:
            self._first = label
        if type(self._first) is not type(label):
            raise ValueError(f"{place}: label {label!r} is a {type(label).__name__}, but {self._first!r} before is not")


def label_of_row(row: Row, column: str, place: str) -> Label:
    """The label of a row.

    Raises:
        ValueError: If it is neither a number nor a name, with the place.
    """
    label = cell(row, column, place)
    if isinstance(label, bool) or not isinstance(label, int | str) or label == "":
        raise ValueError(f"{place}: {column} is {label!r}; it must be a number from 0 or a name")
    known: Label = label
    return known


def _is_number(label: str) -> bool:
    return label.removeprefix("-").isdecimal()


def _manifest(class_names: ClassNames | None) -> Path | None:
    """The manifest that class names come from, if they do."""
    if isinstance(class_names, str | Path) and Path(class_names).suffix.lower() in SUFFIXES:
        return Path(class_names)
    return None
