"""Random access to the rows of a Parquet file."""

import json
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet

from clip_lightning.data.tables.base import Record, Row, Table
from clip_lightning.refusal import did_you_mean

_BATCH_ROWS = 4096
_BLOCK = 1 << 20
_LINE = 1 << 10


class ParquetTable(Table):
    """Columns of a Parquet file, read from a temporary copy with a JSON object a line.

    Parquet gives rows by the group, often a million at a time: to keep groups would take the memory that a manifest
    must not take, and to read one for each row the time. The copy lies in the folder for temporary files (TMPDIR)
    without a name, so nothing of it is left, however the process ends. A process to which the table is sent makes its
    own.

    Args:
        path: The file.
        columns: Those that are read.

    Raises:
        ValueError: If the file cannot be read, lacks a column, or a column holds neither texts, numbers nor lists.
    """

    def __init__(self, path: Path, columns: Collection[str]) -> None:
        super().__init__(path)
        self._columns = sorted(set(columns))
        self._copy = self._copied()

    def __getstate__(self) -> dict[str, Any]:
        """All but the copy, which belongs to this process."""
        return {"path": self.path, "_columns": self._columns}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Makes a copy for this process."""
        self.__dict__.update(state)
        self._copy = self._copied()

    def scan(self) -> Iterator[Record]:
        """Every row, in order."""
        key = 0
        for number, line in enumerate(self._lines(0, _BLOCK), start=1):
            yield Record(f"{self.path}, row {number}", key, json.loads(line))
            key += len(line) + 1

    def rows(self, keys: Iterable[int]) -> Iterator[Row]:
        """The rows of keys, in the order of the keys."""
        for key in keys:
            yield json.loads(next(self._lines(int(key), _LINE)))

    def place(self, key: int) -> str:
        """Where a row stands."""
        number, start = 1, 0
        while start < key:
            number += (block := os.pread(self._copy.fileno(), min(_BLOCK, key - start), start)).count(b"\n")
            start += len(block)
        return f"{self.path}, row {number}"

    def _lines(self, start: int, block: int) -> Iterator[bytes]:
        """Lines of the copy from a byte on."""
        # With pread, since forked processes share the position in a file that they have in common.
        rest = b""
        while read := os.pread(self._copy.fileno(), block, start):
            start += len(read)
            *lines, rest = (rest + read).split(b"\n")
            yield from lines

    def _copied(self) -> IO[bytes]:
        copy = tempfile.TemporaryFile(prefix="clip_lightning-")  # noqa: SIM115 (it lives as long as the table)
        try:
            with self.path.open("rb") as opened, pa.parquet.ParquetFile(opened, buffer_size=_BLOCK) as file:
                self._check_columns(file.schema_arrow.names)
                for batch in file.iter_batches(_BATCH_ROWS, columns=self._columns):
                    copy.writelines(json.dumps(row).encode() + b"\n" for row in batch.to_pylist())
            copy.flush()
        except OSError as error:
            raise ValueError(
                f"cannot read the manifest {self.path}: {error.strerror or error}{did_you_mean(self.path)}"
            ) from None
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise ValueError(f"{self.path} is not a Parquet file that can be read: {error}") from None
        except TypeError as error:
            raise ValueError(
                f"{self.path}: one of the columns {self._columns} holds neither texts, numbers nor lists ({error})"
            ) from None
        # Arrow keeps what it has freed, and this was all there is to read.
        pa.default_memory_pool().release_unused()
        return copy

    def _check_columns(self, there: Collection[str]) -> None:
        for column in self._columns:
            if column not in there:
                raise ValueError(f"{self.path} has no column {column!r}; its columns are {sorted(there)}")
