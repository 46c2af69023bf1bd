"""The runs of all studies, in one folder, each once: by what its configuration is, not by who wanted it first."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clip_lightning.ablation.plan import PlannedRun
from clip_lightning.config import Config, to_yaml
from clip_lightning.files import write_atomically
from clip_lightning.results import read_results
from clip_lightning.tracking import journal
from clip_lightning.tracking.run_folder import RunFolder
from clip_lightning.tracking.run_state import RunState, is_run, read_state

TRACKER = "clip_lightning.tracking.logger.MLflowTracker"


class SharedRuns:
    """Looks runs up; all that is known of one is in its folder.

    Args:
        root: Folder of the runs.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._finished: set[str] = set()

    def folder(self, run: PlannedRun) -> RunFolder:
        """Where a run is, or will be."""
        return RunFolder(self.root / run.key)

    def prepare(self, run: PlannedRun, tags: Mapping[str, str]) -> RunFolder:
        """Makes a run's folder with its configuration; one that has begun already keeps its own.

        Args:
            run: The run.
            tags: What MLflow is to say of it.
        """
        folder = RunFolder.open(self.root / run.key)
        if not folder.config.exists():
            config = {**run.config, "trainer": _tagged(run.config["trainer"], str(run), tags)}
            write_atomically(folder.config, to_yaml(config).encode())
        return folder

    def state(self, run: PlannedRun) -> RunState | None:
        """How a run stands; None where it has not begun."""
        folder = self.folder(run)
        return read_state(folder) if is_run(folder.path) else None

    def is_finished(self, run: PlannedRun) -> bool:
        """Whether a run is trained and measured to its end."""
        if run.key not in self._finished:
            state = self.state(run)
            if state is not None and state.state == "finished" and self.folder(run).results.exists():
                self._finished.add(run.key)
        return run.key in self._finished

    def value(self, run: PlannedRun, metric: str) -> float:
        """A finished run's figure: of the best checkpoint, or, where that has none, the last of the learning curve."""
        rows = {row.name: row.value for row in read_results(self.folder(run).results)}
        if metric in rows:
            return rows[metric]
        curve = journal.metrics(self.folder(run).journal).get(metric)
        return curve.value[-1] if curve else math.nan


def _tagged(trainer: Config, name: str, tags: Mapping[str, str]) -> Config:
    """The trainer's settings with a name and tags for its tracker, if it has one."""
    logger: Any = trainer.get("logger")
    if not isinstance(logger, Mapping) or logger.get("class_path") != TRACKER:
        return trainer
    arguments = logger.get("init_args") or {}
    tagged = {**arguments, "run_name": name, "tags": {**(arguments.get("tags") or {}), **tags}}
    return {**trainer, "logger": {**logger, "init_args": tagged}}
