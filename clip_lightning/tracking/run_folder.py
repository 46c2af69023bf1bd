"""The folder of a run, and where its parts are."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Self


@dataclass(frozen=True)
class RunFolder:
    """Names the files of a run; scripts outside the package rely on these names.

    Args:
        path: The folder.
    """

    path: Path

    @classmethod
    def create(cls, name: str, root: Path = Path("runs")) -> Self:
        """Makes a folder that no other run has: ``ROOT/NAME/TIME``, the time in UTC.

        Args:
            name: Name of the run or study; slashes make folders.
            root: Folder of all runs.

        Returns:
            The new, empty folder.

        Raises:
            ValueError: If the name leads out of the root, or the folder cannot be written.
        """
        parts = PurePosixPath(name).parts
        if not parts or ".." in parts or PurePosixPath(name).is_absolute():
            raise ValueError(
                f"run name {name!r} makes no folder below {root}; use letters, digits, and '/' between them"
            )
        parent = root.joinpath(*parts)
        time = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
        # Of runs that start within one second, the later ones get a number; making a folder is atomic.
        for attempt in range(1, 1000):
            path = parent / (time if attempt == 1 else f"{time}-{attempt}")
            try:
                _make_writable(parent)
                path.mkdir()
            except FileExistsError:
                continue
            return cls(path)
        raise ValueError(f"a thousand runs were started in {parent} within one second; give them different names")

    @classmethod
    def open(cls, path: Path) -> Self:
        """Uses a folder that exists, to resume the run in it, or makes it.

        Args:
            path: The folder.

        Returns:
            The folder.

        Raises:
            ValueError: If it cannot be written.
        """
        _make_writable(path)
        return cls(path)

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Keeps other processes from training in the folder meanwhile; a kill ends the claim too.

        Raises:
            ValueError: If another process trains in it.
        """
        with (self.path / ".lock").open("w") as file:
            try:
                # A record lock, since a fork of this process, such as a loader's worker, does not hold it too.
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(
                    f"another process is training in {self.path}; wait for it or stop it, or give another --run_dir"
                ) from None
            yield

    @property
    def is_claimed(self) -> bool:
        """Whether another process trains in it at this moment."""
        try:
            with self.claimed():
                return False
        except FileNotFoundError:
            return False
        except ValueError:
            return True

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def results(self) -> Path:
        """Rows of ``Result``."""
        return self.path / "results.json"

    @property
    def provenance(self) -> Path:
        """What the run came from: command, code, packages."""
        return self.path / "provenance.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of ``last.ckpt`` and ``best.ckpt``."""
        return self.path / "checkpoints"

    @property
    def journal(self) -> Path:
        """Everything measured, as JSON lines."""
        return self.path / "journal.jsonl"


def _make_writable(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"run folder {path} cannot be made ({error.strerror}); choose another with --run_dir or --output"
        ) from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise ValueError(
            f"run folder {path} cannot be written; choose another with --run_dir or --output, or change its permissions"
        )
