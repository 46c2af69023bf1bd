"""``runs tables``: what runs measured, as files that other tools read."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from clip_lightning.cli.errors import UserError
from clip_lightning.files import write_atomically
from clip_lightning.results import read_results
from clip_lightning.tracking.journal import Series, metrics
from clip_lightning.tracking.run_folder import RunFolder

METRICS = "metrics.json"
"""The results of all runs: by the name of the run's folder, values by their names."""


def write_tables(runs: Sequence[Path], output: Path) -> list[Path]:
    """Writes the results of runs as one JSON file, and each learning curve as CSV, as DVC shows them.

    Args:
        runs: Folders of runs, or of what ``evaluate`` wrote; their last names differ.
        output: Folder to make: ``metrics.json`` and ``curves/RUN/METRIC.csv`` with the columns step and value.

    Returns:
        The files.

    Raises:
        UserError: If a folder has no results, or two have one name.
    """
    names = [run.name for run in runs]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"two runs are called {repeated[0]!r}, by which their figures would be told apart; rename one")
    if missing := [run for run in runs if not RunFolder(run).results.is_file()]:
        raise UserError(f"{missing[0]} has no results.json; name the folder of a finished run or of evaluate's results")
    values = {run.name: {row.name: row.value for row in read_results(RunFolder(run).results)} for run in runs}
    contents = {Path(METRICS): json.dumps(values, indent=2) + "\n"}
    for run in runs:
        journal = RunFolder(run).journal
        for name, series in (metrics(journal) if journal.is_file() else {}).items():
            if len(series.step) > 1:
                contents[Path("curves", run.name, name.replace("/", "-") + ".csv")] = _csv(series)
    for path, content in contents.items():
        (output / path).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(output / path, content.encode())
    return [output / path for path in contents]


def _csv(series: Series) -> str:
    """The points of a metric."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", "value"])
    writer.writerows(zip(series.step, series.value, strict=True))
    return text.getvalue()
