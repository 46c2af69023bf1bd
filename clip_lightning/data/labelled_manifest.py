"""Labelled images that a JSON-lines manifest lists."""

import array
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clip_lightning.data.base import RawSample, Source
from clip_lightning.data.labelled import LabelledDataset
from clip_lightning.data.manifest import Rows, cell, fingerprint_of, image_name, read_image, scan
from clip_lightning.text import numbered_lines, read_templates

Label = int | str


class LabelledManifest(LabelledDataset):
    """Labelled images of a JSON-lines manifest, one object a line.

    Labels are numbers from 0, or names. The classes are those of the whole manifest, whichever rows are taken. Their
    names come from ``class_names``, or for labels that are numbers from a column, or are the labels themselves in
    alphabetical order.

    Args:
        path: The manifest, UTF-8.
        label_column: Column with the label, a number or a name.
        templates: Sentences with a ``{}`` each for the class name, or a text file with one a line.
        class_names: A name for each class in the order of the labels, or a text file with one a line.
        class_name_column: Column with the name of each row's class, for labels that are numbers.
        image_column: Column with the path of the image.
        root: Folder that image paths are relative to; by default the manifest's.
        where: Columns and the value that a row must have in each to be taken, such as ``{split: test}``.
        name: Short name, part of a metric's key; by default the name of the manifest's folder.
        split: Which part of the data it is, for reports.

    Raises:
        ValueError: If a line or its label is wrong, or the class names do not fit the labels, with the path and line.
    """

    def __init__(
        self,
        path: str | Path,
        label_column: str,
        templates: list[str] | str | Path,
        class_names: list[str] | str | Path | None = None,
        class_name_column: str | None = None,
        image_column: str = "image",
        root: str | Path | None = None,
        where: dict[str, Any] | None = None,
        name: str | None = None,
        split: str = "test",
    ) -> None:
        if class_names is not None and class_name_column is not None:
            raise ValueError("give class_names or class_name_column, not both")
        path = Path(path)
        table = _LabelTable(path, label_column, class_name_column)
        # The classes are those of the whole manifest: a part of it that lacks some is no easier task.
        for line in scan(path):
            table.learn(line.row, line.place)
        starts = array.array("q")
        for line in scan(path, where):
            image_name(line.row, image_column, line.place)
            table.add(line.row)
            starts.append(line.start)
        names = table.names() if class_names is None else _named(class_names)
        self._labels = table.numbers(names)
        self.class_names = [[class_name] for class_name in names]
        self.templates = read_templates(templates)
        self.name = name or path.resolve().parent.name
        self.split = split
        fingerprint = fingerprint_of(path, {"image": image_column, "where": where})
        folder = path.parent if root is None else Path(root)
        self.source = _Images(self.name, Rows(path, starts), folder, image_column, fingerprint)

    def target(self, index: int) -> int:
        """Label of a row."""
        return int(self._labels[index])


class _LabelTable:
    """Labels as they are read, checked against each other."""

    def __init__(self, path: Path, label_column: str, class_name_column: str | None) -> None:
        self._path = path
        self._label_column = label_column
        self._class_name_column = class_name_column
        self._codes: dict[Label, int] = {}
        self._places: list[str] = []
        self._rows = array.array("q")
        self._names: dict[Label, str] = {}

    def add(self, row: dict[str, Any]) -> None:
        """Takes the label of the next row that is evaluated."""
        self._rows.append(self._codes[row[self._label_column]])

    def learn(self, row: dict[str, Any], place: str) -> None:
        """Learns which labels and names there are."""
        label = cell(row, self._label_column, place)
        if isinstance(label, bool) or not isinstance(label, int | str) or label == "":
            raise ValueError(f"{place}: {self._label_column} is {label!r}; it must be a number from 0 or a name")
        if label not in self._codes:
            self._check_kind(label, place)
            self._codes[label] = len(self._codes)
            self._places.append(place)
        if self._class_name_column is not None:
            name = cell(row, self._class_name_column, place)
            if self._names.setdefault(label, name) != name:
                raise ValueError(f"{place}: label {label!r} is named {name!r}, but {self._names[label]!r} before")

    def names(self) -> list[str]:
        """Names of the classes as the rows give them."""
        if self._class_name_column is None:
            if any(isinstance(label, int) for label in self._codes):
                raise ValueError(
                    f"the labels in column {self._label_column!r} of {self._path} are numbers; name the classes by "
                    "class_names or class_name_column"
                )
            return sorted(map(str, self._codes))
        by_number = {label if isinstance(label, int) else -1: name for label, name in self._names.items()}
        if sorted(by_number) != list(range(len(self._codes))):
            raise ValueError(
                f"the labels in column {self._label_column!r} of {self._path} are not the numbers from 0 to "
                f"{len(self._codes) - 1}, so rows cannot name all classes; give class_names"
            )
        names = [by_number[number] for number in range(len(by_number))]
        _check_names([(f"{self._path}: label {number}", name) for number, name in enumerate(names)])
        return names

    def numbers(self, names: Sequence[str]) -> np.ndarray:
        """Label of each row as a number, checked against the class names."""
        number_of = {name: number for number, name in enumerate(names)}
        by_code = []
        for label, place in zip(self._codes, self._places, strict=True):
            number = label if isinstance(label, int) else number_of.get(label, -1)
            if not 0 <= number < len(names):
                what = f"{self._label_column} {label!r} is none of the {len(names)} classes"
                raise ValueError(f"{place}: {what}; correct it or the names")
            by_code.append(number)
        if empty := [names[number] for number in sorted(set(range(len(names))) - set(by_code))]:
            raise ValueError(f"{self._path} has no image of the classes {empty}; remove their names")
        labels: np.ndarray = np.asarray(by_code, dtype=np.int64)[np.asarray(self._rows)]
        return labels

    def _check_kind(self, label: Label, place: str) -> None:
        first = next(iter(self._codes), label)
        if type(first) is not type(label):
            raise ValueError(f"{place}: label {label!r} is a {type(label).__name__}, but {first!r} before is not")


def _named(class_names: Sequence[str] | str | Path) -> list[str]:
    """Class names from a list or a text file."""
    if isinstance(class_names, str | Path):
        placed = [(f"{class_names}:{number}", name) for number, name in numbered_lines(class_names)]
    else:
        placed = [(f"class_names[{number}]", name) for number, name in enumerate(class_names)]
    _check_names(placed)
    return [name for _, name in placed]


def _check_names(placed: Sequence[tuple[str, Any]]) -> None:
    for place, name in placed:
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"{place}: class name {name!r} must be a text that is not empty")
    counts = Counter(name for _, name in placed)
    for place, name in reversed(placed):
        if counts[name] > 1:
            raise ValueError(f"{place}: class name {name!r} occurs {counts[name]} times; make the names distinct")


class _Images(Source):
    """The images of a manifest; their rows need no caption."""

    def __init__(self, name: str, rows: Rows, root: Path, image_column: str, fingerprint: str) -> None:
        self.name = name
        self._rows = rows
        self._root = root
        self._image_column = image_column
        self._fingerprint = fingerprint

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the manifest and of the rows that are read."""
        return self._fingerprint

    @property
    def block_sizes(self) -> Sequence[int]:
        """All rows are one block."""
        return (len(self._rows),)

    def read(self, index: int) -> RawSample:
        """The image of a row, without captions."""
        return RawSample(read_image(self._root / self._rows[index][self._image_column]), ())

    def captions(self) -> Iterator[str]:
        """None."""
        return iter(())
