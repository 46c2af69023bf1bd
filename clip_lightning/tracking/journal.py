"""The journal of a run: an append-only file of JSON lines that survives a kill at any moment.

Every record has ``kind`` and ``time`` (ms since 1970, UTC), and by kind:

========  ==============================  =====================================================================
kind      further keys                    meaning
========  ==============================  =====================================================================
start     experiment, run_name,           a process begins to write; ``process`` is its host, pid and start time
          tracking_uri, process
metrics   step, values                    floats by name; JSON lacks NaN and infinities: "nan", "inf", "-inf"
params    values                          strings by dotted name
tags      values                          strings by name
artifact  path, folder                    a file to upload; relative paths start at the run folder
rewind    step, after                     training resumes there: void are the points of this step or later that were
                                          recorded behind this byte; journals of before lack ``after``, which is 0
status    status                          RUNNING, FINISHED, FAILED or KILLED; the last one holds
close     -                               the process that wrote ``start`` writes nothing more
========  ==============================  =====================================================================
"""

import errno
import itertools
import json
import math
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

Kind = Literal["start", "metrics", "params", "tags", "artifact", "rewind", "status", "close"]
Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True)
class Record:
    """One line of a journal.

    Args:
        kind: What it records, or "damaged" for a complete line that is no record (a failing disk).
        content: Its keys; for "damaged" the text under ``line``.
        end: Byte offset behind it, where reading goes on.
    """

    kind: str
    content: dict[str, Any]
    end: int

    @property
    def values(self) -> dict[str, float]:
        """The values of a "metrics" record as floats."""
        return {name: float(value) for name, value in self.content["values"].items()}


class Series(NamedTuple):
    """The points of one metric as columns, in the order in which they were written."""

    step: list[int]
    value: list[float]
    time_ms: list[int]


class Journal:
    """Appends records; each is with the operating system when the call returns, so that killing the writer loses none.

    Args:
        path: File to append to; created with the first record. A line that a kill cut short is removed then.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None
        self._unwritten: deque[bytes] = deque()
        self._lock = threading.Lock()

    def start(
        self, experiment: str, run_name: str | None, tracking_uri: str, process: Mapping[str, str | int | float]
    ) -> None:
        """Says who writes from here on, and where the records belong.

        Args:
            experiment: Name of the MLflow experiment.
            run_name: Name of the run, or None to let MLflow choose.
            tracking_uri: Where the journal is to be delivered, without a password.
            process: ``host``, ``pid`` and ``started`` (s since 1970) of the writer.
        """
        content = {"experiment": experiment, "run_name": run_name, "tracking_uri": tracking_uri}
        self._append("start", **content, process=dict(process))

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Records what was measured at a step; NaN and infinities are allowed."""
        self._append("metrics", step=step, values={name: _json_number(float(value)) for name, value in values.items()})

    def log_params(self, values: Mapping[str, str]) -> None:
        """Records parameters of the run, by dotted name, at full length."""
        self._append("params", values=dict(values))

    def log_tags(self, values: Mapping[str, str]) -> None:
        """Records tags; a later value replaces an earlier one."""
        self._append("tags", values=dict(values))

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Records a file or folder to upload.

        Args:
            path: The file; it is read when it is delivered. Inside the run folder it is noted relative to it, so that
                the folder can be moved.
            folder: Folder among the run's artifacts, or None for their root.
        """
        absolute, root = path.resolve(), self.path.parent.resolve()
        noted = absolute.relative_to(root) if absolute.is_relative_to(root) else absolute
        self._append("artifact", path=str(noted), folder=folder)

    def log_status(self, status: Status) -> None:
        """Records how the run stands, and asks the disk to keep everything so far."""
        self._append("status", status=status)
        assert self._file is not None
        os.fsync(self._file)

    def rewind(self, step: int, after: int) -> None:
        """Declares points void, since training resumes from a checkpoint.

        Void is what was recorded after the checkpoint and is measured again: points of its step that it was preceded by
        stay, and so does a point of an earlier step that was recorded just after it.

        Args:
            step: First optimiser step that is done again, >= 0.
            after: The journal's length in bytes when the checkpoint was written. One beyond its end is of a journal
                that was lost, and voids nothing.
        """
        self._append("rewind", step=step, after=after)

    def close(self) -> None:
        """Records that this process writes nothing more, and closes the file; a later record opens it again."""
        self._append("close")
        with self._lock:
            assert self._file is not None
            os.close(self._file)
            self._file = None

    def _append(self, kind: Kind, **content: Any) -> None:
        record = {"kind": kind, "time": time.time_ns() // 1_000_000, **content}
        self._unwritten.append(json.dumps(record, allow_nan=False).encode() + b"\n")
        self.flush()

    def flush(self) -> None:
        """Writes what a full disk has refused so far, in its order.

        Raises:
            OSError: If it still cannot be written; it is kept for the next time.
        """
        with self._lock:
            while self._unwritten:
                self._write(self._unwritten[0])
                self._unwritten.popleft()

    def _write(self, line: bytes) -> None:
        if self._file is None:
            self._file = _open_for_append(self.path)
        size = os.fstat(self._file).st_size
        # One write for the whole line: a reader sees it complete, or as a tail without a line break.
        if os.write(self._file, line) != len(line):
            os.ftruncate(self._file, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))


def _open_for_append(path: Path) -> int:
    """Opens the file and removes a torn last line, which would otherwise spoil the record that follows it."""
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    size = keep = os.fstat(file).st_size
    while keep > 0:
        block_start = max(0, keep - 4096)
        line_break = os.pread(file, keep - block_start, block_start).rfind(b"\n")
        if line_break >= 0:
            keep = block_start + line_break + 1
            break
        keep = block_start
    if keep < size:
        os.ftruncate(file, keep)
    return file


def _json_number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def read(path: Path, offset: int = 0) -> Iterator[Record]:
    """Reads the complete records of a journal, also while it is written.

    Args:
        path: The journal.
        offset: Byte offset to start at: 0, or the ``end`` of a record.

    Yields:
        Records in order. A torn last line is left for a later call.
    """
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            yield _parse(line, offset)


def _parse(line: bytes, end: int) -> Record:
    try:
        content = json.loads(line)
        if _is_whole(content):
            return Record(content["kind"], content, end)
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    return Record("damaged", {"line": line.decode(errors="replace")}, end)


_CONTENT: dict[str, dict[str, type]] = {
    "start": {"experiment": str, "tracking_uri": str, "process": dict},
    "metrics": {"step": int, "values": dict},
    "params": {"values": dict},
    "tags": {"values": dict},
    "artifact": {"path": str},
    "rewind": {"step": int},
    "status": {"status": str},
    "close": {},
}
"""Keys that a record must have, by kind; some came later, and are not here."""


def _is_whole(content: Any) -> bool:
    """Whether a record has what its kind needs, so that who reads it need not ask."""
    needed = _CONTENT[content["kind"]]
    if not all(isinstance(content[key], kind) for key, kind in [("time", int), *needed.items()]):
        return False
    if content["kind"] == "start":
        process = content["process"]
        return all(isinstance(process[key], kind) for key, kind in _PROCESS.items())
    if content["kind"] == "metrics":
        return all(isinstance(value, int | float) or value in _NO_JSON_NUMBERS for value in content["values"].values())
    return True


_PROCESS = {"host": str, "pid": int, "started": int | float}
_NO_JSON_NUMBERS = ("nan", "inf", "-inf")


def first_start(path: Path) -> dict[str, Any]:
    """Reads where a run belongs, and when it began.

    Args:
        path: The journal.

    Returns:
        The content of its first "start" record.

    Raises:
        ValueError: If there is none.
    """
    if path.exists():
        for record in read(path):
            if record.kind == "start":
                return record.content
    raise ValueError(f"{path.parent} holds no run: its {path.name} is missing or empty")


def metrics(path: Path) -> dict[str, Series]:
    """Reads the learning curves of a run, without the points that a resumed run made void.

    Args:
        path: The journal.

    Returns:
        Columns by metric name.
    """
    series: dict[str, Series] = {}
    for point in _valid_and_void(path)[0]:
        columns = series.setdefault(point.name, Series([], [], []))
        columns.step.append(point.step)
        columns.value.append(point.value)
        columns.time_ms.append(point.time_ms)
    return series


def void_points(path: Path, end: int) -> set[tuple[str, int]]:
    """Finds the points that a resumed run made void.

    Args:
        path: The journal.
        end: Byte offset behind the last record that counts.

    Returns:
        (metric name, step) of each such point.
    """
    return {(point.name, point.step) for point in _valid_and_void(path, end)[1]}


class _Point(NamedTuple):
    name: str
    step: int
    value: float
    time_ms: int
    end: int  # of its record


def _valid_and_void(path: Path, end: float = math.inf) -> tuple[list[_Point], list[_Point]]:
    """Sorts the points up to a byte offset into those that hold, and those that a rewind made void."""
    valid: list[_Point] = []
    void: list[_Point] = []
    first_rewinds: dict[tuple[int, int], int] = {}
    for record in itertools.takewhile(lambda record: record.end <= end, read(path)):
        content = record.content
        if record.kind == "metrics":
            place = content["time"], record.end
            valid += [_Point(name, content["step"], value, *place) for name, value in record.values.items()]
        elif record.kind == "rewind":
            checkpoint = step, after = content["step"], content.get("after", 0)
            # Where the checkpoint's own journal was lost, only what came before its first rewind is known to hold.
            after = min(after, first_rewinds.setdefault(checkpoint, record.end))
            is_void = [point.step >= step and point.end > after for point in valid]
            void += itertools.compress(valid, is_void)
            valid = [point for point, gone in zip(valid, is_void, strict=True) if not gone]
    return valid, void
