"""What the runs of a study have come to, read from their folders."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from clip_lightning.ablation.plan import Plan, PlannedRun
from clip_lightning.ablation.runner import wanted_runs
from clip_lightning.ablation.runs import SharedRuns
from clip_lightning.executors.base import OUTPUT
from clip_lightning.tracking import journal
from clip_lightning.tracking.journal import Series
from clip_lightning.tracking.provenance import read_starts

LAST_LINES = 12
"""How much of what a failed run has printed is shown."""


@dataclass(frozen=True)
class RunOutcome:
    """One run of a study.

    Args:
        run: Which one.
        folder: Where it is.
        state: "finished", "running", "stopped", "failed" or "missing".
        values: Of a finished run the study's metrics.
        curve: The validation curve of the deciding metric; None where there is none.
        pairs_per_second: Of its training on one device, without evaluations; None where that is not known.
        last_lines: Of a run that has failed, what it printed last.
        commit: Commit of the code that trained it; empty outside a checkout.
    """

    run: PlannedRun
    folder: Path
    state: str
    values: dict[str, float]
    curve: Series | None
    pairs_per_second: float | None
    last_lines: Sequence[str]
    commit: str


@dataclass(frozen=True)
class Outcome:
    """A study and what has come of it.

    Args:
        plan: What it wants.
        runs: Its runs, those that are missing included.
        dropped: Variants that were ended early, as hopeless.
    """

    plan: Plan
    runs: Sequence[RunOutcome]
    dropped: Sequence[str]

    def values(self, metric: str) -> dict[str, dict[int, float]]:
        """A metric by variant and seed, of the runs that are finished."""
        found: dict[str, dict[int, float]] = {name: {} for name in self.plan.study.variants}
        for one in self.runs:
            if metric in one.values:
                found[one.run.variant][one.run.seed] = one.values[metric]
        return found

    def of(self, variant: str) -> list[RunOutcome]:
        """The runs of a variant."""
        return [one for one in self.runs if one.run.variant == variant]


def read_outcome(plan: Plan, runs: SharedRuns) -> Outcome:
    """Reads what there is.

    Args:
        plan: A study's plan.
        runs: The runs of all studies.
    """
    finished: dict[str, float] = {}
    while True:
        wanted = wanted_runs(plan, finished, set())
        new = [run for run in wanted if run.key not in finished and runs.is_finished(run)]
        if not new:
            break
        finished |= {run.key: runs.value(run, plan.study.decides) for run in new}
    outcomes = {name: {run.seed: finished[run.key] for run in wanted if run.variant == name and run.key in finished}
                for name in plan.study.variants}  # fmt: skip
    return Outcome(plan, [_read_run(run, plan, runs) for run in wanted], plan.rules.dropped(outcomes))


def _read_run(run: PlannedRun, plan: Plan, runs: SharedRuns) -> RunOutcome:
    folder, state = runs.folder(run), _state(run, runs)
    curves = journal.metrics(folder.journal) if folder.journal.exists() else {}
    values = {metric: runs.value(run, metric) for metric in plan.study.metrics} if state == "finished" else {}
    metric = plan.study.decides
    curve = curves.get(metric.replace("test", "val", 1)) or curves.get(metric)
    speed = curves.get("throughput/pairs_per_second")
    return RunOutcome(
        run,
        folder.path,
        state,
        values,
        curve,
        median(speed.value) if speed else None,
        _last_lines(folder.path / OUTPUT) if state in ("failed", "stopped") else [],
        _commit(folder.provenance),
    )


def _state(run: PlannedRun, runs: SharedRuns) -> str:
    if runs.is_finished(run):
        return "finished"
    if runs.folder(run).is_claimed:
        return "running"
    state = runs.state(run)
    if state is None:
        # It may have failed before it had anything to record.
        return "failed" if (runs.folder(run).path / OUTPUT).exists() else "missing"
    return "failed" if state.state == "failed" else "stopped"


def _last_lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 20_000))
        text = file.read().decode(errors="replace")
    return [line.rstrip() for line in text.splitlines() if line.strip()][-LAST_LINES:]


def _commit(provenance: Path) -> str:
    if not provenance.exists():
        return ""
    git = read_starts(provenance)[-1]["git"]
    return "" if git is None else git["commit"][:10] + (" with changes" if git["dirty"] else "")
