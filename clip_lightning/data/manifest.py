"""Image-text pairs that a manifest lists."""

import array
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_lightning.data.base import Damaged, RawSample, Source
from clip_lightning.data.conditions import cell, select
from clip_lightning.data.folder_files import folder_name
from clip_lightning.data.share import Share
from clip_lightning.data.tables import Row, Table, open_table


class Rows:
    """Random access to some rows of a table, at 8 bytes a row.

    Args:
        table: The rows.
        keys: Which of them, as ``Table.scan`` gave them.
    """

    def __init__(self, table: Table, keys: "array.array[int]") -> None:
        self._table = table
        self._keys: NDArray[np.int64] = np.array(keys, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: int) -> Row:
        [row] = self._table.rows([self._keys[index]])
        return row

    def __iter__(self) -> Iterator[Row]:
        return self._table.rows(self._keys)

    def place(self, index: int) -> str:
        """Path and line of a row."""
        return self._table.place(int(self._keys[index]))


def image_name(row: Row, column: str, place: str) -> str:
    """The image file of a row.

    Raises:
        ValueError: If there is none.
    """
    name = cell(row, column, place)
    if not isinstance(name, str) or not name:
        raise ValueError(f"{place}: {column} is {name!r}; it must be the path of an image")
    if "\0" in name:
        raise ValueError(f"{place}: {column} is {name!r}, which no file can be called; mend the path")
    return name


def read_image(path: Path) -> bytes:
    """An image file's bytes.

    Raises:
        Damaged: If it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise Damaged("image file is missing") from None
    except OSError as error:
        raise Damaged(f"image file cannot be read ({error.strerror})") from None


def fingerprint_of(path: Path, settings: Mapping[str, Any]) -> str:
    """SHA-256 of a manifest's bytes and of how they are read."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(json.dumps(settings, sort_keys=True).encode())
    return digest.hexdigest()


class Manifest(Source):
    """Image-text pairs of a manifest: JSON lines, CSV, TSV or Parquet, by the suffix of its name.

    Args:
        path: The manifest (.jsonl, .ndjson, .csv, .tsv or .parquet), text in UTF-8.
        image_column: Column with the path of the image.
        caption_column: Column, or columns, with a caption or a list of captions. In some of them a row may have none,
            with an empty list, a blank or a null.
        root: Folder that image paths are relative to; by default the manifest's.
        where: Columns and what a row must have in each to be taken: a value, a list of values of which it must have
            one, or ``{not: ...}`` of either, such as ``{split: [train, val], group: {not: Flags}}``.
        share: Lower and upper bound, 0-1, of the images to take, by a hash of their paths as the manifest has them:
            ``[0, 0.9]`` to train on and ``[0.9, 1]`` to evaluate have no image in common.
        columns: Names of the columns of a CSV or TSV file without a header row.
        name: Short name for logs; by default the name of the manifest's folder.

    Raises:
        ValueError: If the manifest is missing or of another kind, a line is not well formed or lacks a column, a row
            has no caption, or no row is taken, with the path and line.
    """

    def __init__(
        self,
        path: str | Path,
        image_column: str = "image",
        caption_column: str | list[str] = "caption",
        root: str | Path | None = None,
        where: dict[str, Any] | None = None,
        share: tuple[float, float] = (0.0, 1.0),
        columns: list[str] | None = None,
        name: str | None = None,
    ) -> None:
        self._path = Path(path)
        self._root = self._path.parent if root is None else Path(root)
        self._image_column = image_column
        self._caption_columns = [caption_column] if isinstance(caption_column, str) else list(caption_column)
        if not self._caption_columns:
            raise ValueError("caption_column is an empty list; name one column at least")
        taken = Share(share)
        self._settings = {
            "image": image_column,
            "caption": self._caption_columns,
            "where": where,
            "share": taken.bounds,
            "columns": columns,
        }
        table = open_table(self._path, [image_column, *self._caption_columns, *(where or {})], columns)
        keys = array.array("q")
        for place, key, row in select(table, where):
            image = image_name(row, image_column, place)
            self._captions(row, place)
            if image in taken:
                keys.append(key)
        if not keys:
            raise ValueError(f"{self._path} has no rows in {taken}; take a larger share")
        self._rows = Rows(table, keys)
        self.name = name or folder_name(self._path.parent)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the manifest and of the columns and rows that are read; images are not opened."""
        return fingerprint_of(self._path, self._settings)

    @property
    def block_sizes(self) -> Sequence[int]:
        """All rows are one block."""
        return (len(self._rows),)

    def read(self, index: int) -> RawSample:
        """The sample of a row.

        Raises:
            Damaged: If the image cannot be read.
        """
        row = self._rows[index]
        image = read_image(self._root / row[self._image_column])
        return RawSample(image, self._captions(row, f"{self._path} row {index}"))

    def captions(self) -> Iterator[str]:
        """Every caption once, in the order of the rows."""
        for index, row in enumerate(self._rows):
            yield from self._captions(row, f"{self._path} row {index}")

    def place(self, index: int) -> str:
        """Path and line of a sample, for messages."""
        return self._rows.place(index)

    def _captions(self, row: Row, place: str) -> tuple[str, ...]:
        found: list[str] = []
        for column in self._caption_columns:
            value = cell(row, column, place)
            if isinstance(value, list):
                found.extend(_caption(text, column, place) for text in value)
            elif value is not None and value != "" and not (isinstance(value, str) and value.isspace()):
                found.append(_caption(value, column, place))
        if not found:
            there = ", ".join(f"{column} is {row[column]!r}" for column in self._caption_columns)
            raise ValueError(f"{place} has no caption: {there}; give one or leave the row out")
        return tuple(found)


def _caption(text: Any, column: str, place: str) -> str:
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{place}: {column} holds {text!r}; it must be a caption or a list of captions")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{place}: {column} holds half a surrogate pair, {text!r}; mend the text") from None
    return text
