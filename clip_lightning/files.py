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

    Raises:
        OSError: If it cannot be written, as where a folder has that name, which stays as it is.
    """
    part = part or path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _rename(part, path)
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
    """Gives a file, or each file of a folder, a second name, or copies it where the file system has no links.

    Args:
        source: What there is.
        target: The second name; a file is the old or the new one, whole.
    """
    part = part_of(target)
    remove(part)
    if source.is_dir():
        shutil.copytree(source, part, copy_function=_link_or_copy_file)
    else:
        _link_or_copy_file(source, part)
    replace(part, target)


def _link_or_copy_file(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        with open(target, "rb") as file:
            os.fsync(file.fileno())


def remove(path: Path) -> None:
    """Removes a file, or a folder with all that is in it, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def replace(source: Path, target: Path) -> None:
    """Renames a file or a folder within its own folder, and removes what had the name, also a folder with all in it."""
    if source.is_dir() or target.is_dir():
        remove(target)  # A folder takes no other's name, and gives its own to none.
    _rename(source, target)


def _rename(source: Path, target: Path) -> None:
    """Renames within a folder, and has the disk remember it."""
    source.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def part_of(path: Path) -> Path:
    """Name of a file while it is written, in the same folder, since a rename is atomic only within one file system."""
    return path.with_name(f".{path.name}.part")
