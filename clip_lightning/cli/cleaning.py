"""``runs clean``: removes what the user asks for, of runs that are not running; without ``--yes`` it only lists."""

import os
import shutil
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clip_lightning.cli.errors import UserError
from clip_lightning.tracking.run_folder import RunFolder
from clip_lightning.tracking.run_state import files_of, find_runs, is_run, read_state


@dataclass(frozen=True)
class Unneeded:
    """Something to delete.

    Args:
        path: A file, or the folder of a run as a whole.
        run: The run that it belongs to.
        reason: Why it is not needed.
        files: What is in it: names, and what the system says of each.
    """

    path: Path
    run: RunFolder
    reason: str
    files: dict[Path, os.stat_result]


def clean(options: Namespace) -> None:
    """Lists or deletes what was asked for.

    Args:
        options: ``run``, ``root``, ``parts``, ``checkpoints``, ``unfinished`` and ``yes``.

    Raises:
        UserError: If nothing was asked for, or a folder is no run or is that of a running one.
    """
    kinds = [kind for kind in ("parts", "checkpoints", "unfinished") if getattr(options, kind)]
    if bool(kinds) == bool(options.run):
        raise UserError("name the folders of runs to delete, or say which files: --parts, --checkpoints, --unfinished")
    if kinds and not options.root.is_dir():
        raise UserError(f"folder {str(options.root)!r} does not exist; name the folder of your runs with --root")
    found = [named_run(path) for path in dict.fromkeys(options.run)] or list(unneeded(options.root, kinds))
    for item in found:
        print(f"{item.path}  {sum(stat.st_size for stat in item.files.values()) / 1e6:,.1f} MB  {item.reason}")
    total = f"{len(found)} found, {freed_bytes(found) / 1e6:,.1f} MB"
    if not options.yes:
        print(f"{total}; nothing is deleted" + ("; add --yes to delete" if found else ""))
        return
    deleted = [item for item in found if delete(item)]
    print(f"{len(deleted)} of {total} deleted")


def named_run(path: Path) -> Unneeded:
    """A run that the user names, as a whole.

    Raises:
        UserError: If it is no run, is a link, or is running.
    """
    if path.is_symlink() or not is_run(path):
        raise UserError(
            f"{path} is no run folder, so it is not deleted: it has no config.yaml and journal.jsonl of its own"
        )
    folder = RunFolder(path)
    if read_state(folder).state == "running":
        raise UserError(
            f"{path} is running, or was on another machine when last heard of, so it is not deleted; stop it first"
        )
    return Unneeded(path, folder, "named", files_of(folder))


def unneeded(root: Path, kinds: list[str]) -> Iterator[Unneeded]:
    """Finds what is not needed in the runs of a folder.

    Args:
        root: Folder of all runs.
        kinds: Of "parts", "checkpoints" and "unfinished", what to look for.
    """
    for folder in find_runs(root):
        state = read_state(folder).state
        if state == "running":
            continue
        files = files_of(folder)
        checkpoints = {path for path in files if path.parent == folder.checkpoints and path.suffix == ".ckpt"}
        if "unfinished" in kinds and state != "finished" and not checkpoints:
            yield Unneeded(folder.path, folder, f"{state}, without a checkpoint", files)
            continue
        for path in sorted(files):
            is_part = path.name.startswith(".") and path.name.endswith(".part")
            is_old = state == "finished" and path in checkpoints and path.name not in ("best.ckpt", "last.ckpt")
            if "parts" in kinds and is_part:
                yield Unneeded(path, folder, "half written", {path: files[path]})
            elif "checkpoints" in kinds and is_old:
                yield Unneeded(path, folder, "of a finished run", {path: files[path]})


def freed_bytes(found: list[Unneeded]) -> int:
    """Bytes that deleting frees: a file is gone when the last of its names is."""
    names: dict[tuple[int, int], int] = {}
    stats = [stat for item in found for stat in item.files.values()]
    for stat in stats:
        names[stat.st_dev, stat.st_ino] = names.get((stat.st_dev, stat.st_ino), 0) + 1
    sizes = {(stat.st_dev, stat.st_ino): stat for stat in stats}
    return sum(stat.st_size for file, stat in sizes.items() if names[file] >= stat.st_nlink)


def delete(item: Unneeded) -> bool:
    """Deletes, unless the run has gone on meanwhile.

    Returns:
        Whether it was deleted.
    """
    if read_state(item.run).state == "running":
        print(f"{item.path} is kept: its run has gone on")
        return False
    if item.path == item.run.path:
        shutil.rmtree(item.path)
    else:
        item.path.unlink()
    return True
