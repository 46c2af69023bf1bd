"""The process that trains, as others see it: whether it lives, and what it last said in its journal."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from clip_lightning.tracking.journal import read


def describe_process() -> dict[str, str | int | float]:
    """Names this process for a journal's "start" record; the start time tells it from a later one with the same id."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": psutil.Process().create_time()}


def is_abandoned(journal: Path) -> bool:
    """Asks whether the last writer of a journal ended without closing it.

    Args:
        journal: The journal.

    Returns:
        True if it is known to be gone; False if it lives, closed the journal, or ran on another machine.
    """
    writer = None
    for record in read(journal):
        if record.kind == "start":
            writer = record.content["process"]
        elif record.kind == "close":
            writer = None
    return writer is not None and is_known_gone(writer)


def is_known_gone(writer: Mapping[str, Any]) -> bool:
    """Whether the process of a "start" record has ended; False where it ran on another machine, and cannot be seen."""
    if writer["host"] != socket.gethostname():
        return False
    process = find_process(writer["pid"])
    return process is None or _has_ended(process) or abs(process.create_time() - writer["started"]) > 1


def find_process(process_id: int) -> psutil.Process | None:
    """The running process of this id, or None."""
    try:
        return psutil.Process(process_id)
    except psutil.NoSuchProcess:
        return None


def _has_ended(process: psutil.Process) -> bool:
    """Whether it runs no more, also where nobody has collected its exit code, or its id went to another process."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class TrainingProcess:
    """Watches a training process and its journal.

    Args:
        journal: What it writes.
        process_id: Its id.

    Attributes:
        process: The process, or None if it was gone from the beginning.
        has_closed: Whether it has said that it writes nothing more.
        is_succeeded: Whether another process writes the journal now, since the run was resumed.
    """

    def __init__(self, journal: Path, process_id: int) -> None:
        self.process = find_process(process_id)
        self.has_closed = self.is_succeeded = False
        self._journal, self._offset, self._process_id = journal, 0, process_id

    @property
    def is_gone(self) -> bool:
        """Whether it has ended."""
        return self.process is None or _has_ended(self.process)

    def read_journal(self) -> None:
        """Brings ``has_closed`` and ``is_succeeded`` up to date."""
        for record in read(self._journal, self._offset):
            self._offset = record.end
            if record.kind == "start":
                self.has_closed = False
                self.is_succeeded = record.content["process"]["pid"] != self._process_id
            elif record.kind == "close":
                self.has_closed = True
