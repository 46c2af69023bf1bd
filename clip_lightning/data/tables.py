"""Random access to the rows of a table in a file: JSON lines, CSV, TSV or Parquet.

A table is read once from beginning to end, and each row then has a number by which it is read again. So 8 bytes a row
are all that need be kept, whatever the rows hold.
"""

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

Row = dict[str, Any]

SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_BLOCK = 1 << 20


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


def open_table(path: str | Path, needed: Collection[str], columns: Sequence[str] | None = None) -> Table:
    """The table in a file, of the kind that the file's suffix says.

    Args:
        path: A file of JSON objects, one a line (.jsonl, .ndjson), CSV (.csv), TSV (.tsv) or Parquet (.parquet). Text
            is UTF-8, with or without a byte order mark.
        needed: Columns that will be asked for.
        columns: Names of the columns of a CSV or TSV file without a header row.

    Raises:
        ValueError: If the suffix is none of these, ``columns`` does not go with it, or a Parquet file cannot be read.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in _DELIMITERS:
        return _Delimited(path, _DELIMITERS[suffix], columns)
    if columns is not None:
        raise ValueError(f"columns names those of a CSV or TSV file; {path} names its own, so leave columns out")
    if suffix in (".jsonl", ".ndjson"):
        return _JsonLines(path)
    if suffix == ".parquet":
        # Here, since few need the package behind it.
        from clip_lightning.data.parquet_table import ParquetTable

        return ParquetTable(path, needed)
    raise ValueError(
        f"{path} ends in {suffix!r}; a manifest is JSON lines, CSV, TSV or Parquet and ends in one of {SUFFIXES}: "
        "convert or rename it"
    )


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
            raise ValueError(f"cannot read the manifest {self.path}: {error.strerror}") from None

    @abstractmethod
    def _scan(self, lines: _Lines) -> Iterator[Record]:
        """The rows from a line on."""


class _Values(NamedTuple):
    """A ``Record`` before its values are put to their columns."""

    place: str
    key: int
    row: list[str]


class _JsonLines(_TextTable):
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


class _Delimited(_TextTable):
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
