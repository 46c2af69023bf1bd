"""``report``: writes a study's answer as a page and as Markdown."""

import argparse
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import clip_lightning
from clip_lightning.ablation.folder import read_plan
from clip_lightning.ablation.outcome import read_outcome
from clip_lightning.ablation.runs import SharedRuns
from clip_lightning.reports.rendering import write_report
from clip_lightning.reports.study import study_report


def main(arguments: Sequence[str]) -> int:
    """Writes the report of a study.

    Args:
        arguments: Command line after the verb.

    Returns:
        Exit code.

    Raises:
        ValueError: If the folder holds no study.
    """
    parser = argparse.ArgumentParser("clip_lightning report", description=__doc__, allow_abbrev=False)
    parser.add_argument("--study", type=Path, required=True, help="folder of a study, as ablate prints it")
    options = parser.parse_args(arguments)
    for path in write_study_report(options.study, ["report", *arguments]):
        print(f"report      {path}")
    print(options.study)
    return 0


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
    plan = read_plan(folder)
    facts = {
        "study": f"{folder}, in {Path.cwd()}",
        "made by": f"python -m clip_lightning {shlex.join(arguments)}",
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "version": f"clip_lightning {clip_lightning.__version__}",
    }
    return write_report(folder, study_report(read_outcome(plan, SharedRuns(plan.study.runs_dir)), facts))
