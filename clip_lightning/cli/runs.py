"""``runs``: which runs there are, what one of them is, their figures as files, and removing what is not needed."""

import argparse
import itertools
import pickletools
import shlex
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clip_lightning.cli.cleaning import clean
from clip_lightning.cli.errors import UserError
from clip_lightning.cli.run_tables import write_tables
from clip_lightning.config import read_config
from clip_lightning.results import format_table, read_results
from clip_lightning.tracking.journal import read
from clip_lightning.tracking.provenance import describe_git, read_starts
from clip_lightning.tracking.run_folder import RunFolder
from clip_lightning.tracking.run_state import RunState, files_of, find_runs, is_run, read_state, size_of

DEFAULT_ROOT = Path("runs")


def main(arguments: Sequence[str]) -> int:
    """Lists, shows or cleans.

    Args:
        arguments: Command line after the verb.

    Returns:
        Exit code.
    """
    options = _parser().parse_args(arguments)
    if options.what == "show":
        show(options.run)
    elif options.what == "list":
        list_runs(options.root)
    elif options.what == "tables":
        files = write_tables(options.run, options.output)
        print(f"{len(files) - 1} curves and {files[0]}")
        print(options.output)
    else:
        clean(options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("clip_lightning runs", description=__doc__, allow_abbrev=False)
    verbs = parser.add_subparsers(dest="what", required=True)
    listing = verbs.add_parser("list", help="a table of all runs, the newest first", allow_abbrev=False)
    showing = verbs.add_parser("show", help="one run: command, parts, checkpoints, results", allow_abbrev=False)
    showing.add_argument("run", type=Path, help="folder of the run")
    tables = verbs.add_parser("tables", help="results as JSON, curves as CSV, for DVC and others", allow_abbrev=False)
    tables.add_argument("run", type=Path, nargs="+", help="folders of runs, or of what evaluate wrote")
    tables.add_argument("--output", type=Path, required=True, help="folder to write to")
    cleaning = verbs.add_parser("clean", help="what is no longer needed; deleted only with --yes", allow_abbrev=False)
    cleaning.add_argument("run", type=Path, nargs="*", help="folders of runs to delete as a whole")
    cleaning.add_argument("--parts", action="store_true", help="what was half written when a run was killed")
    cleaning.add_argument(
        "--checkpoints", action="store_true", help="of finished runs, all checkpoints but best.ckpt and last.ckpt"
    )
    cleaning.add_argument("--unfinished", action="store_true", help="whole runs that have ended without a checkpoint")
    cleaning.add_argument("--yes", action="store_true", help="delete; without it, what would be deleted is listed")
    for verb in (listing, cleaning):
        verb.add_argument("--root", type=Path, default=DEFAULT_ROOT, help="folder of all runs (%(default)s)")
    return parser


def list_runs(root: Path) -> None:
    """Prints a table of all runs, the newest first.

    Args:
        root: Folder of all runs.

    Raises:
        UserError: If it does not exist.
    """
    if not root.is_dir() and root != DEFAULT_ROOT:
        raise UserError(f"folder {str(root)!r} does not exist; name the folder of your runs with --root")
    rows = [_row(folder) for folder in find_runs(root)] if root.is_dir() else []
    if not rows:
        print(f"no runs in {root}")
        return
    rows.sort(key=lambda row: row[0], reverse=True)
    table = [("folder", "started (UTC)", "state", "step", "size", "best checkpoint"), *(cells for _, cells in rows)]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(table[0]))]
    for cells in table:
        left, right = cells[:3], cells[3:5]
        aligned = [cell.ljust(width) for cell, width in zip(left, widths[:3], strict=True)]
        aligned += [cell.rjust(width) for cell, width in zip(right, widths[3:5], strict=True)]
        print("  ".join([*aligned, cells[5]]).rstrip())


def _row(folder: RunFolder) -> tuple[int, tuple[str, ...]]:
    """When a run was started, and its line of the table; one that cannot be read does not hide the others."""
    try:
        state = read_state(folder)
        step = "-" if state.step is None else f"{state.step:,}"
        size = _size(size_of(files_of(folder)))
        return state.started, (str(folder.path), _time(state.started), state.state, step, size, _best(folder))
    except (AttributeError, KeyError, OSError, OverflowError, TypeError, ValueError):
        return 0, (str(folder.path), "-", "unreadable", "-", "-", "-")


def _best(folder: RunFolder) -> str:
    """The metric that chooses the best checkpoint, with its value where the results hold it."""
    # The parameters are among the first records; reading YAML would take a hundred times as long.
    params = [
        record.content["values"] for record in itertools.islice(read(folder.journal), 10) if record.kind == "params"
    ]
    monitor = next((values["checkpoints.monitor"] for values in params if "checkpoints.monitor" in values), None)
    if monitor is None or not folder.results.is_file():
        return "-"
    value = next((row.value for row in read_results(folder.results) if row.name == monitor), None)
    return "-" if value is None else f"{monitor} {value:.4f}"


def show(path: Path) -> None:
    """Prints what a run is, what it holds, and how to go on from it.

    Args:
        path: Folder of the run.

    Raises:
        UserError: If it holds no run.
    """
    if not is_run(path):
        raise UserError(f"{path} is no run folder: it has no config.yaml and journal.jsonl")
    folder = RunFolder(path)
    state, files = read_state(folder), files_of(folder)
    lines = [("run", str(path)), ("state", state.state + ("" if state.step is None else f" at step {state.step:,}"))]
    lines += _starts(folder.provenance) if folder.provenance.exists() else []
    lines += _highlights(read_config(folder.config))
    for checkpoint in sorted(file for file in files if file.suffix == ".ckpt"):
        size = _size(files[checkpoint].st_size)
        lines.append(("checkpoint", f"{checkpoint.relative_to(path)}  {_step_text(checkpoint)}  {size}"))
    others = sorted(file for file in files if file.suffix != ".ckpt")
    lines += [("file", f"{file.relative_to(path)}  {_size(files[file].st_size)}") for file in others]
    lines += [("size", f"{_size(size_of(files))}; a file with several names counts once")]
    print("\n".join(f"{name:<14}{value}" for name, value in [*lines, *_next_commands(path, state)]))
    if folder.results.is_file():
        print(f"\n{format_table(read_results(folder.results))}")


def _starts(provenance: Path) -> list[tuple[str, str]]:
    """When and from what a run was started and continued."""
    try:
        starts = read_starts(provenance)
        lines = [(f"{start['date']}, {describe_git(start['git'])}", start["command"]) for start in starts]
    except (KeyError, TypeError, ValueError):
        return [("started", f"{provenance} cannot be read")]
    return [line for when, command in lines for line in (("started", when), ("", command))]


def _next_commands(path: Path, state: RunState) -> list[tuple[str, str]]:
    """How to go on from a run that is not running."""
    quoted, module = shlex.quote(str(path)), "python -m clip_lightning"
    if state.state == "running":
        return []
    if state.state == "finished":
        return [("reproduce", f"{module} reproduce {quoted}"), ("test again", f"{module} test --run_dir {quoted}")]
    return [("continue", f"{module} fit --config {quoted}/config.yaml --run_dir {quoted}")]


def _highlights(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What one asks of a run first: its parts, data, budget and seed."""
    model, data, trainer = (config.get(name) or {} for name in ("model", "data", "trainer"))
    parts = [(name, model.get(name)) for name in ("image_encoder", "text_encoder", "objective")]
    parts += [("data", source) for source in data.get("train") or []]
    budget = {name: trainer.get(name) for name in ("max_epochs", "max_steps")} | {"batch_size": data.get("batch_size")}
    return [
        *((name, _part(part)) for name, part in parts if part),
        ("budget", ", ".join(f"{name} {value}" for name, value in budget.items() if value not in (None, -1))),
        ("seed", str(config.get("seed_everything"))),
    ]


def _part(spec: Any) -> str:
    """A part as its class would be called, with the arguments that are numbers and texts."""
    if not isinstance(spec, Mapping):
        return str(spec)
    arguments = spec.get("init_args") or {}
    shown = [f"{name}={value}" for name, value in arguments.items() if isinstance(value, str | int | float)]
    return f"{str(spec.get('class_path')).rpartition('.')[2]}({', '.join(shown)})"


def _step_text(checkpoint: Path) -> str:
    step = step_of(checkpoint)
    return "step unknown" if step is None else f"step {step:,}"


def step_of(checkpoint: Path) -> int | None:
    """The optimiser step of a checkpoint, read without running any of it and without torch.

    Args:
        checkpoint: The file: a ZIP archive with a pickle of the plain data, which is only taken apart here.

    Returns:
        The step; None if the file is damaged or holds none.
    """
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            codes = ((code.name, value) for code, value, _ in pickletools.genops(archive.read(name)))
            values = itertools.dropwhile(lambda code: code[1] != "global_step", codes)
            integers = (value for name, value in values if name in ("BININT", "BININT1", "BININT2"))
            return next((int(str(value)) for value in integers), None)
    except (OSError, zipfile.BadZipFile, StopIteration, ValueError):
        return None


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _size(size: int) -> str:
    unit, divisor = ("MB", 1e6) if size >= 100_000 else ("kB", 1e3)
    return f"{size / divisor:,.1f} {unit}"
