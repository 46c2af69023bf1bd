"""What a run came from: command, code, packages and machine, so that it can be done again."""

import importlib.metadata
import json
import os
import platform
import shlex
import socket
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from clip_lightning.results import write_atomically

# A diff beyond this is data that does not belong into version control, not an experiment's change.
MAX_DIFF_CHARACTERS = 200_000
_GIT_SECONDS = 10


def provenance(command: Sequence[str], devices: Sequence[str] = (), folder: Path | None = None) -> dict[str, Any]:
    """Describes where a run comes from.

    Args:
        command: The exact command line, as a list of arguments.
        devices: Names of the accelerators in use.
        folder: Folder whose git checkout is described; None for the working directory.

    Returns:
        Plain data: ``command``, ``date``, ``folder``, ``git`` (None outside a checkout), ``python``, ``packages``,
        ``machine``.
    """
    folder = (folder or Path.cwd()).absolute()
    return {
        "command": shlex.join(command),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "folder": str(folder),
        "git": _git_state(folder),
        "python": platform.python_version(),
        "packages": _packages(),
        "machine": {
            "host": socket.gethostname(),
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
            "memory_bytes": psutil.virtual_memory().total,
            "devices": list(devices),
        },
    }


def write_provenance(path: Path, command: Sequence[str], devices: Sequence[str] = ()) -> dict[str, Any]:
    """Writes ``provenance`` of the working directory as JSON.

    Args:
        path: ``RunFolder.provenance``.
        command: The exact command line, as a list of arguments.
        devices: Names of the accelerators in use.

    Returns:
        What was written.
    """
    found = provenance(command, devices)
    write_atomically(path, json.dumps(found, indent=2).encode())
    return found


def _packages() -> dict[str, str]:
    """Versions of all installed packages by name."""
    found = {distribution.name: distribution.version for distribution in importlib.metadata.distributions()}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def _git_state(folder: Path) -> dict[str, Any] | None:
    """Commit of a checkout and what differs from it, or None where there is no checkout, commit or git."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    diff = _git(folder, "diff", "HEAD") or ""
    untracked = (_git(folder, "ls-files", "--others", "--exclude-standard", ":/") or "").splitlines()
    return {
        "commit": commit.strip(),
        "branch": (_git(folder, "rev-parse", "--abbrev-ref", "HEAD") or "").strip(),
        "dirty": bool(diff or untracked),
        "diff": diff[:MAX_DIFF_CHARACTERS],
        "diff_characters": len(diff),
        "untracked": untracked[:1000],
        "untracked_files": len(untracked),
    }


def _git(folder: Path, *arguments: str) -> str | None:
    """Output of a git command that changes nothing, not even the index, or None if it fails."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            timeout=_GIT_SECONDS,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.decode(errors="replace") if answer.returncode == 0 else None
