"""Labelled images that a manifest lists."""

import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clip_lightning.data.base import RawSample, Source
from clip_lightning.data.conditions import select
from clip_lightning.data.folder_files import folder_name
from clip_lightning.data.labelled import LabelledDataset, Metric
from clip_lightning.data.manifest import Rows, fingerprint_of, image_name, read_image
from clip_lightning.data.manifest_classes import ManifestClasses
from clip_lightning.data.same_pixels import SameColumns, labels_of_same_pixels
from clip_lightning.data.share import Share
from clip_lightning.data.tables import open_table
from clip_lightning.text import read_templates


class LabelledManifest(LabelledDataset):
    """Labelled images of a manifest: JSON lines, CSV, TSV or Parquet, by the suffix of its name.

    Labels are numbers from 0, or names. The classes are those of the whole manifest, whichever rows are evaluated,
    unless ``class_names`` or ``class_where`` says otherwise. Their names come from ``class_names``, or from a column,
    or are the labels themselves; classes without a list of names are in the order of their labels.

    Args:
        path: The manifest (.jsonl, .ndjson, .csv, .tsv or .parquet), text in UTF-8.
        label_column: Column with the label, a number or a name.
        templates: Sentences with a ``{}`` each for the class name, or a text file with one a line.
        class_names: A name or a list of names for each class in the order of the labels; or a text file with a class a
            line, its names separated by " | "; or another manifest with the same columns, for the classes of its rows.
        class_name_column: Column with the name, or a list of names, of each row's class.
        class_where: Which rows have the classes, in the form of ``where``, if not all of the manifest have.
        image_column: Column with the path of the image.
        root: Folder that image paths are relative to; by default the manifest's.
        where: Columns and what a row must have in each to be evaluated: a value, a list of values of which it must have
            one, or ``{not: ...}`` of either, such as ``{split: [val, test], group: {not: Flags}}``.
        share: Lower and upper bound, 0-1, of the images to take, by a hash of their paths as the manifest has them:
            ``[0, 0.9]`` to train on and ``[0.9, 1]`` to evaluate have no image in common.
        same_as_column: Column with what identifies other rows with the same pixels, one or a list, or none: their
            labels count as right too.
        id_column: Column with what identifies a row, for ``same_as_column``.
        columns: Names of the columns of a CSV or TSV file without a header row.
        known_names: Name that is known to belong to each of some labels, as a check that ``class_names`` are in order.
        allow_empty_classes: Whether a class of a list or text file may have no image in the manifest.
        name: Short name, part of a metric's key; by default the name of the manifest's folder.
        split: Which part of the data it is, for reports.
        metric: The metric that models are compared by on this set.
        published_size: Number of samples that publications report; another one is told of.

    Raises:
        ValueError: If a line or its label is wrong, or the class names do not fit the labels, with the path and line.
    """

    def __init__(
        self,
        path: str | Path,
        label_column: str,
        templates: list[str] | str | Path,
        class_names: list[str | list[str]] | str | Path | None = None,
        class_name_column: str | None = None,
        class_where: dict[str, Any] | None = None,
        image_column: str = "image",
        root: str | Path | None = None,
        where: dict[str, Any] | None = None,
        share: tuple[float, float] = (0.0, 1.0),
        same_as_column: str | None = None,
        id_column: str = "id",
        columns: list[str] | None = None,
        known_names: dict[int, str] = {},  # noqa: B006  (not changed; a union would hide the messages of its members)
        allow_empty_classes: bool = False,
        name: str | None = None,
        split: str = "test",
        metric: Metric = "accuracy",
        published_size: int | None = None,
    ) -> None:
        path = Path(path)
        same = None if same_as_column is None else SameColumns(same_as_column, id_column, label_column)
        needed = [image_column, label_column, class_name_column, *(same or ()), *(class_where or {}), *(where or {})]
        table = open_table(path, [column for column in needed if column is not None], columns)
        classes = ManifestClasses(table, label_column, class_names, class_name_column, class_where, columns)
        taken = Share(share)
        shown = {} if same is None else labels_of_same_pixels(table, same)
        keys, labels = array.array("q"), array.array("l")
        self._accepted: dict[int, tuple[int, ...]] = {}
        for place, key, row in select(table, where):
            number = classes.number(row, place)
            if image_name(row, image_column, place) not in taken:
                continue
            if same is not None and (others := shown.get(row[id_column])):
                self._accepted[len(keys)] = classes.known(others)
            labels.append(number)
            keys.append(key)
        if not keys:
            raise ValueError(f"{path} has no rows in {taken}; take a larger share")
        if not allow_empty_classes:
            classes.check_that_all_occur(table)
        self._labels = np.array(labels, dtype=np.int64)
        self.class_names = classes.names
        self.known_names = known_names
        self.templates = read_templates(templates)
        self.name = name or folder_name(path.parent)
        self.split = split
        settings = {"image": image_column, "where": where, "share": taken.bounds, "columns": columns}
        folder = path.parent if root is None else Path(root)
        self.source = _Images(self.name, Rows(table, keys), folder, path, settings)
        self.metric = metric
        self.published_size = published_size
        self.tell_size()

    def target(self, index: int) -> int:
        """Label of a row."""
        return int(self._labels[index])

    def accepted(self, index: int) -> Sequence[int]:
        """Labels that count as right: the row's own, and those of other rows with the same pixels."""
        return self._accepted.get(index) or (self.target(index),)


class _Images(Source):
    """The images of a manifest; their rows need no caption."""

    def __init__(self, name: str, rows: Rows, root: Path, path: Path, settings: Mapping[str, Any]) -> None:
        self.name = name
        self._rows = rows
        self._root = root
        self._path = path
        self._settings = settings

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the manifest and of the rows that are read."""
        return fingerprint_of(self._path, self._settings)

    @property
    def block_sizes(self) -> Sequence[int]:
        """All rows are one block."""
        return (len(self._rows),)

    def read(self, index: int) -> RawSample:
        """The image of a row, without captions."""
        return RawSample(read_image(self._root / self._rows[index][self._settings["image"]]), ())

    def captions(self) -> Iterator[str]:
        """None."""
        return iter(())

    def place(self, index: int) -> str:
        """Path and line of an image, for messages."""
        return self._rows.place(index)
