"""How the runs of a folder stand, from the ends of their journals: hundreds are looked at in a moment."""

import contextlib
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clip_lightning.tracking.journal import Kind, Record, read
from clip_lightning.tracking.run_folder import RunFolder
from clip_lightning.tracking.training_process import is_known_gone

State = Literal["running", "finished", "failed", "stopped"]
_STATES: dict[str, State] = {"FINISHED": "finished", "FAILED": "failed"}


@dataclass(frozen=True)
class RunState:
    """How a run stands.

    Args:
        state: "running" also where the process is on another machine, since nobody here can tell; "stopped" where it
            was interrupted or killed, and can be continued.
        status: What the process said last; FINISHED once the training is done, while the best checkpoint is measured.
        step: Optimiser step of the last record, or None before there is one.
        started: Time of the first record, in ms since 1970.
    """

    state: State
    status: str
    step: int | None
    started: int


def read_state(folder: RunFolder) -> RunState:
    """Reads how a run stands.

    Args:
        folder: The run's folder; ``is_run`` holds.
    """
    journal = folder.journal
    last = {kind: last_record(journal, kind) for kind in ("start", "close", "status", "metrics")}
    start, close, status, metrics = last["start"], last["close"], last["status"], last["metrics"]
    said = str(status.content["status"]) if status else "RUNNING"
    is_closed = start is None or (close is not None and close.end > start.end)
    if is_closed:
        state = _STATES.get(said, "stopped")
    else:
        assert start is not None
        state = "stopped" if is_known_gone(start.content["process"]) else "running"
    first = next(read(journal), None)
    return RunState(
        state,
        said,
        int(metrics.content["step"]) if metrics else None,
        int(first.content["time"]) if first and "time" in first.content else 0,
    )


def last_record(journal: Path, kind: Kind) -> Record | None:
    """The last record of a kind, found from the end of the file, which is not read as a whole.

    Args:
        journal: The journal.
        kind: Which records.
    """
    # So begin the lines that ``Journal`` writes; a text inside of one has its quotation marks escaped.
    beginning = f'{{"kind": "{kind}"'.encode()
    with journal.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:  # An empty file cannot be mapped.
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            # A last line without its end is no record yet.
            place = content.rfind(b"\n" + beginning, 0, content.rfind(b"\n")) + 1
            if place == 0 and content[: len(beginning)] != beginning:
                return None
    record = next(read(journal, place), None)
    return record if record and record.kind == kind else None


def is_run(path: Path) -> bool:
    """Whether a folder holds a run: other folders may have a configuration, but no journal of what was measured."""
    folder = RunFolder(path)
    return folder.config.is_file() and folder.journal.is_file()


def find_runs(root: Path) -> Iterator[RunFolder]:
    """Finds the runs in a folder and in the folders in it; links are not followed.

    Args:
        root: Where to look.

    Yields:
        Runs in order of their names.
    """
    if is_run(root):
        yield RunFolder(root)
        return
    with contextlib.suppress(PermissionError), os.scandir(root) as entries:
        folders = sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
        for folder in folders:
            yield from find_runs(Path(folder))


def files_of(folder: RunFolder) -> dict[Path, os.stat_result]:
    """The files of a run and what the system says of them; a link is itself, not what it leads to."""
    found = {}
    for parent, _, names in os.walk(folder.path):
        for name in names:
            path = Path(parent, name)
            with contextlib.suppress(FileNotFoundError):  # A running run replaces its files.
                found[path] = path.lstat()
    return found


def size_of(files: dict[Path, os.stat_result]) -> int:
    """Bytes of files; those that are one file under several names count once."""
    return sum({(stat.st_dev, stat.st_ino): stat.st_size for stat in files.values()}.values())
