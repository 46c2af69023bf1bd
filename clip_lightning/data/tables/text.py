"""Random access to the rows of a text file: JSON lines, CSV or TSV."""

import csv
import json
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from clip_lightning.data.tables.base import Record, Row, Table
from clip_lightning.refusal import did_you_mean

_BLOCK = 1 << 20


class _Lines(Iterator[str]):
    """Decoded lines of a file and where they stand.

    Attributes:
        start: Byte at which the last line began.
        end: Byte behind it.
        number: Lines read so far.
    """

    def __init__(self, file: IO[bytes], path: Path, start: int = 0) -> None:
        file.seek(start)
        self._file = file
        self._path = str(path)
        self._counts = start == 0
        self.start = self.end = start
        self.number = 0

    def __next__(self) -> str:
        line = self._file.readline()
        if not line:
            raise StopIteration
        self.start = self.end
        self.end += len(line)
        self.number += 1
        try:
            text = line.decode("utf-8" if self.start else "utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{self.place} is not UTF-8 text ({error.reason} at byte {error.start} of the line); save it as UTF-8"
            ) from None
        if "\0" in text:
            raise ValueError(f"{self.place} holds a null character, so it is no UTF-8 text; save it as UTF-8")
        return text

    @property
    def place(self) -> str:
        """Where the last line stands."""
        return f"{self._path}:{self.number}" if self._counts else f"{self._path}, byte {self.start}"

    @property
    def place_of_next(self) -> str:
        """Where the next line stands."""
        return f"{self._path}:{self.number + 1}" if self._counts else f"{self._path}, byte {self.end}"


class _TextTable(Table):
    """A table in a text file, whose keys are the bytes at which its rows begin."""

    def scan(self) -> Iterator[Record]:
        with self._open() as file:
            yield from self._scan(_Lines(file, self.path))

    def rows(self, keys: Iterable[int]) -> Iterator[Row]:
        with self._open() as file:
            for key in keys:
                record = next(self._scan(_Lines(file, self.path, int(key))), None)
                if record is None:
                    raise ValueError(f"{self.path} has become shorter since it was opened; start again")
                yield record.row

    def place(self, key: int) -> str:
        number = 1
        with self._open() as file:
            while file.tell() < key:
                number += file.read(min(_BLOCK, key - file.tell())).count(b"\n")
        return f"{self.path}:{number}"

    def _open(self) -> IO[bytes]:
        try:
            return self.path.open("rb")
        except OSError as error:
            raise ValueError(
                f"cannot read the manifest {self.path}: {error.strerror}{did_you_mean(self.path)}"
            ) from None

    @abstractmethod
    def _scan(self, lines: _Lines) -> Iterator[Record]:
        """The rows from a line on."""


class _Values(NamedTuple):
    """A ``Record`` before its values are put to their columns."""

    place: str
    key: int
    row: list[str]


class JsonLines(_TextTable):
    """A JSON object a line."""

    def _scan(self, lines: _Lines) -> Iterator[Record]:
        for line in lines:
            if line.strip():
                place = lines.place
                yield Record(place, lines.start, _parsed(line, place))


def _parsed(line: str, place: str) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place} is not valid JSON: {error}") from None
    if not isinstance(row, dict):
        raise ValueError(f"{place} is a {type(row).__name__}; each line must be a JSON object")
    return row


class Delimited(_TextTable):
    """CSV or TSV, where a quoted value may go over several lines.

    Args:
        path: The file.
        delimiter: What separates the values.
        columns: Their names; by default the first row has them.
    """

    texts = True

    def __init__(self, path: Path, delimiter: str, columns: Sequence[str] | None) -> None:
        super().__init__(path)
        self._delimiter = delimiter
        self._has_header = columns is None
        self._columns = [] if columns is None else _distinct(list(columns), "columns")

    def scan(self) -> Iterator[Record]:
        """Every row, in order, but the header; blank lines are none."""
        with self._open() as file:
            lines = _Lines(file, self.path)
            if self._has_header and (header := next(self._values(lines), None)):
                self._columns = _distinct(header.row, header.place)
            yield from self._scan(lines)

    def _scan(self, lines: _Lines) -> Iterator[Record]:
        for place, key, values in self._values(lines):
            if len(values) != len(self._columns):
                raise ValueError(
                    f"{place} has {len(values)} values for the {len(self._columns)} columns {self._columns}"
                )
            yield Record(place, key, dict(zip(self._columns, values, strict=True)))

    def _values(self, lines: _Lines) -> Iterator[_Values]:
        reader = csv.reader(lines, delimiter=self._delimiter, strict=True)
        while True:
            # The reader takes no more lines than a row needs, so the next row begins where the last has ended.
            key, place = lines.end, lines.place_of_next
            try:
                values = next(reader, None)
            except csv.Error as error:
                raise ValueError(f"{place} is not valid {self.path.suffix[1:].upper()}: {error}") from None
            if values is None:
                return
            if values:
                yield _Values(place, key, values)


def _distinct(columns: list[str], place: str) -> list[str]:
    if not columns or len(set(columns)) < len(columns):
        raise ValueError(f"{place}: the columns are {columns}; give each a name of its own")
    return columns
