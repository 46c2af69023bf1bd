"""Shows how a study stands: a block that is drawn anew on a terminal, lines in a log."""

import sys
import time
from typing import TextIO

from clip_lightning.ablation.plan import Plan, PlannedRun
from clip_lightning.ablation.runner import Standing
from clip_lightning.ablation.runs import SharedRuns

_REDRAW_SECONDS = 1.0
_LINE_SECONDS = 30.0


class StudyProgress:
    """Says what has ended, and what every run under way is doing, which it reads from the runs' journals.

    Args:
        plan: The study's plan.
        runs: Where the runs are.
        out: Where to write; standard error by default.
    """

    def __init__(self, plan: Plan, runs: SharedRuns, out: TextIO | None = None) -> None:
        self._plan, self._runs, self._out = plan, runs, out or sys.stderr
        self._said: set[str] = set()
        self._attempts: dict[str, int] = {}
        self._shown, self._lines = 0.0, 0
        self._started = time.monotonic()
        self._at_first: int | None = None

    def __call__(self, standing: Standing) -> None:
        """Shows what is new."""
        if self._at_first is None:
            self._at_first = len(standing.finished)
            self._said |= standing.finished.keys()
        news = self._news(standing)
        is_terminal = self._out.isatty()
        due = time.monotonic() - self._shown >= (_REDRAW_SECONDS if is_terminal else _LINE_SECONDS)
        if not news and not due:
            return
        block = [self._summary(standing), *self._under_way(standing)]
        if is_terminal and self._lines:
            self._out.write(f"\x1b[{self._lines}F\x1b[J")
        self._out.write("".join(f"{line}\n" for line in [*news, *(block if is_terminal or due else [])]))
        self._out.flush()
        self._lines = len(block) if is_terminal else 0
        self._shown = time.monotonic() if due or is_terminal else self._shown

    def _news(self, standing: Standing) -> list[str]:
        """A line for each run that has ended since the last call."""
        lines = []
        for run in standing.wanted:
            if run.key in standing.finished and run.key not in self._said:
                lines.append(f"done    {run}  {self._plan.study.decides} {standing.finished[run.key]:.4f}")
                self._said.add(run.key)
            failures = standing.attempts[run.key]
            if failures > self._attempts.get(run.key, 0):
                self._attempts[run.key] = failures
                what = "given up" if run.key in standing.failed else "tried again"
                lines.append(f"failed  {run}, {what}; what it said is in {self._runs.folder(run).path}/output.log")
        return lines

    def _summary(self, standing: Standing) -> str:
        counts = [
            (len(standing.finished), "done"),
            (sum(standing.is_running(run.key) for run in standing.wanted), "running"),
            (sum(state == "waiting" for state in standing.active.values()), "waiting"),
            (len(standing.failed), "failed"),
        ]
        shown = ", ".join(f"{count} {what}" for count, what in counts if count)
        return f"{len(standing.wanted)} runs: {shown}{self._remaining(standing)}"

    def _remaining(self, standing: Standing) -> str:
        """About how long the rest takes, by what the runs have taken that ended here."""
        done = len(standing.finished) - (self._at_first or 0)
        left = len(standing.wanted) - len(standing.finished) - len(standing.failed)
        if done == 0 or left == 0:
            return ""
        return f"; about {describe_seconds((time.monotonic() - self._started) / done * left)} left"

    def _under_way(self, standing: Standing) -> list[str]:
        lines = []
        for run in standing.wanted:
            if standing.is_running(run.key):
                where = "  (another process does it)" if run.key in standing.elsewhere else ""
                lines.append(f"  {run}  {self._place(run)}{where}")
        return lines

    def _place(self, run: PlannedRun) -> str:
        state, total = self._runs.state(run), self._plan.steps[run.variant]
        if state is None or state.step is None:
            return "starting"
        return f"step {state.step:,}/{total:,} ({100 * state.step / total:.0f} %)"


def describe_seconds(seconds: float) -> str:
    """A duration in the unit that suits it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
