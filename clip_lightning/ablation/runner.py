"""Has an executor do the runs that a study wants and that are not there yet."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from clip_lightning.ablation.plan import Plan, PlannedRun
from clip_lightning.ablation.runs import SharedRuns
from clip_lightning.executors import Executor, Launch, State

POLL_SECONDS = 0.2


@dataclass
class Standing:
    """How a study stands at a moment.

    Args:
        wanted: Runs that are wanted by what is known so far.
        finished: Those of them that are finished, with their deciding metric, by key.
        active: Those that the executor has, by key.
        elsewhere: Keys of those that another process is doing.
        failed: Keys of those that have failed as often as they are tried.
        attempts: How often each has failed, by key.
    """

    wanted: list[PlannedRun] = field(default_factory=list)
    finished: dict[str, float] = field(default_factory=dict)
    active: dict[str, State] = field(default_factory=dict)
    elsewhere: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    attempts: Counter[str] = field(default_factory=Counter)

    def is_running(self, key: str) -> bool:
        """Whether somebody does a run at the moment; one that is finished may take some time to deliver the rest."""
        return (self.active.get(key) == "running" or key in self.elsewhere) and key not in self.finished


class Runner:
    """Does a study's runs.

    Args:
        plan: What the study wants.
        runs: Where they are.
        executor: Who does them.
        tags: What MLflow is to say of all of them.
        watch: Called again and again with how the study stands.
    """

    def __init__(
        self,
        plan: Plan,
        runs: SharedRuns,
        executor: Executor,
        tags: Mapping[str, str],
        watch: Callable[[Standing], None],
    ) -> None:
        self._plan, self._runs, self._executor, self._tags, self._watch = plan, runs, executor, tags, watch
        self._jobs: dict[str, PlannedRun] = {}
        self._standing = Standing()

    def run(self) -> Standing:
        """Does what is missing, until every wanted run is finished or has failed for good.

        Returns:
            How the study stands then. An exception, as from Ctrl-C, first ends the runs under way.
        """
        try:
            while self._submit_missing():
                self._watch(self._standing)
                time.sleep(POLL_SECONDS)
                self._collect()
        except BaseException:
            self._executor.cancel(list(self._jobs))
            raise
        self._watch(self._standing)
        return self._standing

    def _submit_missing(self) -> bool:
        """Submits what is wanted and nobody does; returns whether there is something to wait for."""
        standing = self._standing
        standing.wanted = wanted_runs(self._plan, standing.finished, standing.failed)
        for run in standing.wanted:
            if run.key not in standing.finished and self._runs.is_finished(run):
                standing.finished[run.key] = self._runs.value(run, self._plan.study.decides)
        # What was found finished may be what the rules wait for.
        wanted = wanted_runs(self._plan, standing.finished, standing.failed)
        if wanted != standing.wanted:
            return self._submit_missing()
        settled = standing.finished.keys() | standing.failed
        missing = [run for run in wanted if run.key not in settled and run.key not in standing.active]
        standing.elsewhere = {run.key for run in missing if self._runs.folder(run).is_claimed}
        if ready := [run for run in missing if run.key not in standing.elsewhere]:
            jobs = self._executor.submit([self._launch(run) for run in ready])
            self._jobs.update(zip(jobs, ready, strict=True))
            standing.active.update({run.key: "waiting" for run in ready})
        return bool(standing.active or standing.elsewhere)

    def _launch(self, run: PlannedRun) -> Launch:
        tags = {**self._tags, "clip_lightning.variant": run.variant, "clip_lightning.seed": str(run.seed)}
        folder = self._runs.prepare(run, tags).path
        return Launch((sys.executable, *command_of(folder), "--num_threads", str(self._executor.threads)), folder)

    def _collect(self) -> None:
        """Takes in what has ended; a run counts as done by what its folder says."""
        standing = self._standing
        for job, state in self._executor.poll(list(self._jobs)).items():
            run = self._jobs[job]
            standing.active[run.key] = state
            if state in ("done", "failed"):
                del self._jobs[job], standing.active[run.key]
                if not self._runs.is_finished(run):
                    standing.attempts[run.key] += 1
                    if standing.attempts[run.key] > self._plan.study.retries:
                        standing.failed.add(run.key)


def command_of(folder: Path) -> list[str]:
    """What does a run, after the name of Python's program; the same again goes on with it."""
    path = str(folder)
    return ["-m", "clip_lightning", "fit", "--config", str(folder / "config.yaml"), "--run_dir", path]


def wanted_runs(plan: Plan, finished: Mapping[str, float], failed: set[str]) -> list[PlannedRun]:
    """The runs that a study wants by what is known so far.

    Args:
        plan: The study's plan.
        finished: Deciding metric of finished runs, by key.
        failed: Keys of those that will not be tried again.
    """
    outcomes: dict[str, dict[int, float | None]] = {name: {} for name in plan.study.variants}
    seeds = [*plan.study.seeds.fixed, *range(len(plan.study.seeds.fixed), plan.study.seeds.at_most)]
    for variant in outcomes:
        for seed in seeds:
            key = plan.run(variant, seed).key
            if key in finished or key in failed:
                outcomes[variant][seed] = finished.get(key)
    return [plan.run(variant, seed) for variant, seed in plan.rules.wanted(outcomes)]
