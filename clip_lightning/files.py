"""Files that are there whole or not at all, whatever happens while they are written."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def replacing(path: Path, part: Path | None = None) -> Iterator[IO[bytes]]:
    """Opens a file to write, which takes the path's place when the block ends; if it ends by an error, it is gone.

    Args:
        path: File to write or replace; its folder exists.
        part: Where the content is until then, in the same folder. By default a name of its own, so that several
            processes may write the same file; a name that is known leaves one file at most, however often a process
            is killed.
    """
    part = part or path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        replace(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def write_atomically(path: str | Path, content: bytes) -> None:
    """Replaces a file by a complete new one: a reader, or a crash, sees the old content or the new, never a part.

    Args:
        path: File to write or replace; its folder exists.
        content: Everything that the file is to hold.

    Raises:
        OSError: If it cannot be written; it names the file.
    """
    try:
        with replacing(Path(path)) as file:
            file.write(content)
    except OSError as error:
        # Writing does not name the file, as opening does, and the message is for a user.
        error.filename = str(path)
        raise


def link_or_copy(source: Path, target: Path) -> None:
    """Gives a file a second name, or copies it where the file system has no links; the target is old or new, whole."""
    part = part_of(target)
    part.unlink(missing_ok=True)
    try:
        os.link(source, part)
    except OSError:
        shutil.copyfile(source, part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
    replace(part, target)


def replace(source: Path, target: Path) -> None:
    """Renames a file within its folder, and has the disk remember it."""
    source.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def part_of(path: Path) -> Path:
    """Name of a file while it is written, in the same folder, since a rename is atomic only within one file system."""
    return path.with_name(f".{path.name}.part")
