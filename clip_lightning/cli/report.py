"""``report``: writes a study's answer as a page and as Markdown."""

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import clip_lightning
from clip_lightning.ablation.folder import read_plan
from clip_lightning.ablation.outcome import Outcome, RunOutcome, read_outcome
from clip_lightning.ablation.reproduction import Reproduction, draw, read_reproduction
from clip_lightning.ablation.runs import SharedRuns
from clip_lightning.cli.errors import UserError
from clip_lightning.reports.rendering import write_report
from clip_lightning.reports.study import study_report
from clip_lightning.tracking.provenance import read_starts
from clip_lightning.tracking.run_folder import RunFolder


def main(arguments: Sequence[str]) -> int:
    """Writes the report of a study.

    Args:
        arguments: Command line after the verb.

    Returns:
        Exit code: 0, or 1 if a run was done again and is not equal.

    Raises:
        ValueError: If the folder holds no study, or no run that could be done again.
    """
    parser = argparse.ArgumentParser("clip_lightning report", description=__doc__, allow_abbrev=False)
    parser.add_argument("--study", type=Path, required=True, help="folder of a study, as ablate prints it")
    parser.add_argument(
        "--reproduce",
        action="store_true",
        help="first do one of its finished runs again, drawn by chance, and compare; it takes as long as the run did",
    )
    parser.add_argument(
        "--allow_module",
        action="append",
        default=[],
        help="with --reproduce, module beside the installed packages that its configuration may name",
    )
    options = parser.parse_args(arguments)
    if options.allow_module and not options.reproduce:
        parser.error("--allow_module is of what --reproduce does; give both")
    code = reproduce(options.study, options.allow_module) if options.reproduce else 0
    for path in write_study_report(options.study, ["report", *arguments]):
        print(f"report      {path}")
    print(options.study)
    return code


def reproduce(folder: Path, modules: Sequence[str] = ()) -> int:
    """Has a process do one run of a study again, and notes what came of it.

    Args:
        folder: The study's folder.
        modules: Those of the user's own that the run's configuration may name.

    Returns:
        0 if everything was equal, 1 if not.

    Raises:
        UserError: If the run could not be done again.
        ValueError: If the folder holds no study, or no run of it is finished.
    """
    drawn = draw(_outcome(folder))
    new = str(folder / "reproduced" / drawn.run.key)
    command = ["-m", "clip_lightning", "reproduce", str(drawn.folder), "--run_dir", new]
    command += [argument for module in modules for argument in ("--allow_module", module)]
    print(f"reproducing {drawn.run}, drawn by chance: python {shlex.join(command)}", file=sys.stderr, flush=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(_threads(drawn))}
    # What goes wrong is seen at once, since errors go where this process's go.
    done = subprocess.run([sys.executable, *command], stdout=subprocess.PIPE, text=True, env=environment, check=False)
    said = _findings(done.stdout, new)
    if not said or not said[-1].endswith(("equal", "differ")):
        raise UserError(f"{drawn.folder} could not be done again and compared; what stands above says why")
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    Reproduction(drawn.run.key, str(drawn.run), shlex.join(command), done.returncode, said, date).write(folder)
    return done.returncode


def _findings(printed: str, new: str) -> list[str]:
    """What ``reproduce`` says by itself: what is not as it was, and what it found when the new run had ended."""
    before, _, after = printed.partition(f"\n{new}\n")
    lines = [line for line in before.splitlines() if line.startswith("differs ")] + after.splitlines()
    return [line.rstrip() for line in lines if line.strip() and line != new]


def _threads(drawn: RunOutcome) -> int:
    """Threads of the run, on which the last bits depend."""
    return int(read_starts(RunFolder(drawn.folder).provenance)[-1]["threads"])


def _outcome(folder: Path) -> Outcome:
    plan = read_plan(folder)
    return read_outcome(plan, SharedRuns(plan.study.runs_dir))


def write_study_report(folder: Path, arguments: Sequence[str]) -> list[Path]:
    """Writes ``report.html`` and ``report.md`` into a study's folder, of what there is by now.

    Args:
        folder: The study's folder.
        arguments: Command line that asked for it.

    Returns:
        The files.

    Raises:
        ValueError: If the folder holds no study.
    """
    outcome = _outcome(folder)
    facts = {
        "study": f"{folder}, in {Path.cwd()}",
        "made by": f"python -m clip_lightning {shlex.join(arguments)}",
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "version": f"clip_lightning {clip_lightning.__version__}",
    }
    return write_report(folder, study_report(outcome, facts, read_reproduction(folder, outcome)))
