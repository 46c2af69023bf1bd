"""Image-text pairs that a JSON-lines manifest lists."""

import array
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from clip_lightning.data.base import Damaged, RawSample, Source

Row = dict[str, Any]


class Line(NamedTuple):
    """A row of a manifest and where it stands.

    Args:
        place: Path and line number, for messages.
        start: Byte at which the line begins.
        row: What it says.
    """

    place: str
    start: int
    row: Row


def scan(path: str | Path, where: Mapping[str, Any] | None = None) -> Iterator[Line]:
    """Reads a manifest from beginning to end, one JSON object a line; blank lines are skipped.

    Args:
        path: The manifest.
        where: Columns and the value that a row must have in each to be taken.

    Raises:
        ValueError: If the file is missing, a line is no JSON object or lacks a column of ``where``, or no row is taken.
    """
    where = where or {}
    seen: dict[str, set[str]] = {column: set() for column in where}
    taken = False
    try:
        with Path(path).open("rb") as file:
            start = 0
            for number, line in enumerate(file, start=1):
                if not line.isspace():
                    place = f"{path}:{number}"
                    row = _parsed(line, place)
                    for column, values in seen.items():
                        values.add(repr(cell(row, column, place)))
                    if all(row[column] == value for column, value in where.items()):
                        taken = True
                        yield Line(place, start, row)
                start += len(line)
    except OSError as error:
        raise ValueError(f"cannot read the manifest {path}: {error.strerror}") from None
    if not taken:
        there = "; ".join(f"{column} is one of {sorted(values)[:10]}" for column, values in seen.items() if values)
        raise ValueError(f"{path} has no rows" + (f" where {dict(where)}; there, {there}" if there else ""))


def _parsed(line: bytes, place: str) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{place} is not valid JSON: {error}") from None
    if not isinstance(row, dict):
        raise ValueError(f"{place} is a {type(row).__name__}; each line must be a JSON object")
    return row


def cell(row: Row, column: str, place: str) -> Any:
    """The value of a column.

    Raises:
        ValueError: If the row has no such column, with the columns it has.
    """
    if column not in row:
        raise ValueError(f"{place} has no column {column!r}; its columns are {sorted(row)}")
    return row[column]


def image_name(row: Row, column: str, place: str) -> str:
    """The image file of a row.

    Raises:
        ValueError: If there is none.
    """
    name = cell(row, column, place)
    if not isinstance(name, str) or not name:
        raise ValueError(f"{place}: {column} is {name!r}; it must be the path of an image")
    return name


class Rows:
    """Random access to rows of a manifest, at 8 bytes a row.

    Args:
        path: The manifest.
        starts: Byte at which each row's line begins.
    """

    def __init__(self, path: Path, starts: Sequence[int]) -> None:
        self._path = path
        self._starts = np.asarray(starts, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> Row:
        with self._path.open("rb") as file:
            file.seek(int(self._starts[index]))
            row: Row = json.loads(file.readline())
        return row

    def __iter__(self) -> Iterator[Row]:
        with self._path.open("rb") as file:
            for start in self._starts:
                file.seek(int(start))
                yield json.loads(file.readline())


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


class JsonLines(Source):
    """Image-text pairs of a JSON-lines manifest, one object a line.

    Args:
        path: The manifest, UTF-8.
        image_column: Column with the path of the image.
        caption_column: Column, or columns, with a caption or a list of captions.
        root: Folder that image paths are relative to; by default the manifest's.
        where: Columns and the value that a row must have in each to be taken, such as ``{split: train}``.
        name: Short name for logs; by default the name of the manifest's folder.

    Raises:
        ValueError: If the manifest is missing, a line is no JSON object or lacks a column, a caption is empty, or no
            row is taken, with the path and line.
    """

    def __init__(
        self,
        path: str | Path,
        image_column: str = "image",
        caption_column: str | list[str] = "caption",
        root: str | Path | None = None,
        where: dict[str, Any] | None = None,
        name: str | None = None,
    ) -> None:
        self._path = Path(path)
        self._root = self._path.parent if root is None else Path(root)
        self._image_column = image_column
        self._caption_columns = [caption_column] if isinstance(caption_column, str) else list(caption_column)
        if not self._caption_columns:
            raise ValueError("caption_column is an empty list; name one column at least")
        self._where = where
        starts = array.array("q")
        for line in scan(self._path, where):
            image_name(line.row, image_column, line.place)
            self._captions(line.row, line.place)
            starts.append(line.start)
        self._rows = Rows(self._path, starts)
        self.name = name or self._path.resolve().parent.name

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the manifest and of the columns and rows that are read; images are not opened."""
        columns = {"image": self._image_column, "caption": self._caption_columns}
        return fingerprint_of(self._path, {**columns, "where": self._where})

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

    def _captions(self, row: Row, place: str) -> tuple[str, ...]:
        found: list[str] = []
        for column in self._caption_columns:
            value = cell(row, column, place)
            texts = value if isinstance(value, list) else [value]
            if not texts:
                raise ValueError(f"{place}: {column} is an empty list; remove the row or give a caption")
            for text in texts:
                if not isinstance(text, str) or not text.strip():
                    raise ValueError(f"{place}: {column} holds {text!r}; it must be a caption or a list of captions")
            found.extend(texts)
        return tuple(found)
