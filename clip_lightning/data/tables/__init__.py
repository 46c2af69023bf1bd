"""Random access to the rows of a table in a file: JSON lines, CSV, TSV or Parquet.

A table is read once from beginning to end, and each row then has a number by which it is read again. So 8 bytes a row
are all that need be kept, whatever the rows hold.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

from clip_lightning.data.tables.base import Record, Row, Table
from clip_lightning.data.tables.text import Delimited, JsonLines

__all__ = ["SUFFIXES", "Record", "Row", "Table", "open_table"]

SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}


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
        return Delimited(path, _DELIMITERS[suffix], columns)
    if columns is not None:
        raise ValueError(f"columns names those of a CSV or TSV file; {path} names its own, so leave columns out")
    if suffix in (".jsonl", ".ndjson"):
        return JsonLines(path)
    if suffix == ".parquet":
        # Here, since few need the package behind it.
        from clip_lightning.data.tables.parquet import ParquetTable

        return ParquetTable(path, needed)
    raise ValueError(
        f"{path} ends in {suffix!r}; a manifest is JSON lines, CSV, TSV or Parquet and ends in one of {SUFFIXES}: "
        "convert or rename it"
    )
