"""What a run came from: command, code, packages, machine and data, so that it can be done again.

``provenance.json`` is ``{"format": 1, "starts": [...]}``: one entry for each time the run was started or continued, the
oldest first, since the weights come from all of them. What an entry does not have is as in the one before it.
"""

import importlib.metadata
import itertools
import json
import os
import platform
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from clip_lightning.files import write_atomically
from clip_lightning.tracking.store import without_password

FORMAT = 1

Start = dict[str, Any]

# A diff beyond this is data that does not belong into version control, not an experiment's change.
MAX_DIFF_CHARACTERS = 200_000
_GIT_SECONDS = 10

RESULT_VARIABLES = ("CUBLAS_", "CUDA_", "CUDNN_", "MKL_", "NVIDIA_TF32_", "OMP_", "OPENBLAS_", "PYTHONHASHSEED")
"""Beginnings of the environment variables that may change a result. No others are noted: they may hold secrets."""


def describe_start(known: Mapping[str, Any], folder: Path | None = None) -> Start:
    """Describes where a run comes from, as far as this process can see it.

    Args:
        known: What only the program that trains knows, as plain data: ``seed``, ``devices``, ``threads`` and
            ``fingerprints`` of the data.
        folder: Folder whose git checkout is described; None for the working directory.

    Returns:
        Plain data: ``command`` as it was typed but for passwords, ``date``, ``folder``, ``git`` (None outside a
        checkout), ``package_git`` (where this package lies in a checkout of its own), ``python``, ``packages``,
        ``machine``, ``environment``, and what is ``known``.
    """
    folder = (folder or Path.cwd()).absolute()
    package = Path(__file__).parent
    return {
        "command": without_password(shlex.join(sys.orig_argv)),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "folder": str(folder),
        "git": _git_state(folder),
        "package_git": None if _git_root(package) == _git_root(folder) else _git_state(package),
        "python": platform.python_version(),
        "packages": _packages(),
        "machine": {
            "host": socket.gethostname(),
            "platform": platform.platform(),
            "cpus": os.cpu_count(),
            "memory_bytes": psutil.virtual_memory().total,
        },
        "environment": {name: os.environ[name] for name in sorted(os.environ) if name.startswith(RESULT_VARIABLES)},
        **known,
    }


def add_start(path: Path, start: Start) -> None:
    """Adds an entry to a run's provenance; those of before stay.

    Args:
        path: ``RunFolder.provenance``.
        start: As ``describe_start`` returns it.

    Raises:
        ValueError: If the file is there and is no provenance.
    """
    starts = [*(read_starts(path) if path.exists() else []), start]
    # A run that is often preempted would otherwise hold as many copies of its code's changes.
    changes = [
        {key: value for key, value in now.items() if key not in before or before[key] != value}
        for before, now in itertools.pairwise([{}, *starts])
    ]
    write_atomically(path, json.dumps({"format": FORMAT, "starts": changes}, indent=2).encode())


def read_starts(path: Path) -> list[Start]:
    """Reads a run's provenance.

    Args:
        path: ``RunFolder.provenance``.

    Returns:
        An entry for each start, the oldest first; one for a file of before there were several.

    Raises:
        ValueError: If the file is missing, or is no provenance that this version reads.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist, so it is not known where the run comes from") from None
    except ValueError:
        raise ValueError(f"{path} is no provenance: it is not JSON; remove it if the run is to go on") from None
    if isinstance(content, dict) and "command" in content:
        content["devices"] = content["machine"].pop("devices")
        return [content]
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} is no provenance of format {FORMAT}, which this version of clip_lightning reads")
    return list(itertools.accumulate(content["starts"], lambda before, changes: {**before, **changes}))


def describe_git(state: Mapping[str, Any] | None) -> str:
    """The commit of a checkout in a few words."""
    if state is None:
        return "in no checkout of git"
    return f"commit {state['commit'][:10]}{' with changes' if state['dirty'] else ''}"


def _packages() -> dict[str, str]:
    """Versions of all installed packages by name."""
    found = {distribution.name: distribution.version for distribution in importlib.metadata.distributions()}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def _git_state(folder: Path) -> dict[str, Any] | None:
    """Commit of a checkout and what differs from it, or None where there is no checkout, commit or git."""
    root = _git_root(folder)
    commit = root and _git(root, "rev-parse", "HEAD")
    if not root or not commit:
        return None
    # All names are relative to the root, so that they are the same from everywhere.
    diff = _git(root, "diff", "--no-color", "--no-ext-diff", "HEAD") or ""
    untracked = (_git(root, "ls-files", "--others", "--exclude-standard", ":/") or "").splitlines()
    return {
        "commit": commit.strip(),
        "branch": (_git(root, "rev-parse", "--abbrev-ref", "HEAD") or "").strip(),
        "dirty": bool(diff or untracked),
        "diff": diff[:MAX_DIFF_CHARACTERS],
        "diff_characters": len(diff),
        "untracked": untracked[:1000],
        "untracked_files": len(untracked),
    }


def _git_root(folder: Path) -> Path | None:
    """The top folder of a checkout, or None where there is none."""
    answer = _git(folder, "rev-parse", "--show-toplevel")
    return Path(answer.rstrip("\n")) if answer else None


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
