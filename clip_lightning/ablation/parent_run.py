"""The study in MLflow: a run of its own, whose children are the study's runs.

It is recorded as runs are: in a journal in the study's folder, delivered by another process.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clip_lightning.ablation.plan import Plan
from clip_lightning.ablation.runs import TRACKER
from clip_lightning.tracking.delivery_state import read_state
from clip_lightning.tracking.journal import Journal, Status
from clip_lightning.tracking.run_folder import RunFolder
from clip_lightning.tracking.store import resolve_uri, without_password
from clip_lightning.tracking.training_process import describe_process

PARENT_TAG = "mlflow.parentRunId"
"""MLflow's own tag, by which it shows runs below another one."""


class ParentRun:
    """A study as a run of MLflow's.

    Args:
        folder: The study's folder.
        plan: Its plan. Where its first variant is not tracked in MLflow, nothing is recorded.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self._folder, self._plan = folder, plan
        self._tracker = _tracker(plan)
        self._journal: Journal | None = None

    def begin(self) -> dict[str, str]:
        """Makes the run, and with it the store, before several processes write there at once.

        Returns:
            The tags that make a run its child; fewer where MLflow cannot be reached.

        Raises:
            ValueError: If the tracking URI is a folder.
        """
        study = self._plan.study
        tags = {"clip_lightning.study": study.name}
        if self._tracker is None:
            return tags
        uri = resolve_uri(self._tracker.get("tracking_uri"))
        place = without_password(uri)
        self._journal = Journal(RunFolder(self._folder).journal)
        experiment = self._tracker.get("experiment") or "clip_lightning"
        self._journal.start(experiment, f"study {study.name}", place, describe_process())
        self._journal.log_status("RUNNING")
        self._journal.log_tags({**tags, "clip_lightning.question": study.question})
        self._deliver(uri)
        run_id = read_state(self._folder, place).run_id
        return {**tags, PARENT_TAG: run_id} if run_id else tags

    def end(self, status: Status, artifacts: Sequence[Path], metrics: Mapping[str, float]) -> None:
        """Records how the study ended.

        Args:
            status: FINISHED, FAILED or KILLED.
            artifacts: Files of its answer.
            metrics: Figures of its variants.
        """
        if self._journal is None or self._tracker is None:
            return
        for path in artifacts:
            self._journal.log_artifact(path)
        if metrics:
            self._journal.log_metrics(metrics, 0)
        self._journal.log_status(status)
        self._journal.close()
        self._deliver(resolve_uri(self._tracker.get("tracking_uri")))

    def _deliver(self, uri: str) -> None:
        """Delivers in a process of its own: MLflow's import takes seconds and hundreds of megabytes."""
        command = [sys.executable, "-m", "clip_lightning", "sync", str(self._folder)]
        # Not an argument, since the URI may hold a password and everyone may list processes.
        environment = {**os.environ, "MLFLOW_TRACKING_URI": uri}
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if answer.returncode:
            said = answer.stderr.strip().splitlines()[-1:]
            print(f"clip_lightning ablate: the study is not tracked yet: {''.join(said)}", file=sys.stderr)


def _tracker(plan: Plan) -> dict[str, Any] | None:
    """Arguments of the tracker of the first variant's runs; None where there is none."""
    logger = next(iter(plan.facts.values())).config["trainer"].get("logger")
    if not isinstance(logger, Mapping) or logger.get("class_path") != TRACKER:
        return None
    arguments: dict[str, Any] = dict(logger.get("init_args") or {})
    return arguments if arguments.get("live", True) else None
