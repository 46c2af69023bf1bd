"""One run of a study, done a second time: which one, and what came of it."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clip_lightning.ablation.outcome import Outcome, RunOutcome
from clip_lightning.files import write_atomically

FILE = "reproduction.json"


@dataclass(frozen=True)
class Reproduction:
    """What came of doing a run again.

    Args:
        key: Of the run.
        run: Its variant and seed.
        command: What did it again, after the name of Python's program.
        code: Exit code of ``reproduce``: 0 if everything is equal, 1 if something is not.
        said: What it printed last.
        date: When it ended.
    """

    key: str
    run: str
    command: str
    code: int
    said: Sequence[str]
    date: str

    def write(self, folder: Path) -> None:
        """Notes it in a study's folder, in the place of an earlier one."""
        write_atomically(folder / FILE, (json.dumps(dataclasses.asdict(self), indent=2) + "\n").encode())


def read_reproduction(folder: Path, outcome: Outcome) -> Reproduction | None:
    """What was noted in a study's folder; None where nothing was, or the run is none of the study's any more."""
    if not (folder / FILE).exists():
        return None
    found = Reproduction(**json.loads((folder / FILE).read_text(encoding="utf-8")))
    return found if found.key in {one.run.key for one in outcome.runs} else None


def draw(outcome: Outcome) -> RunOutcome:
    """One of the finished runs, by chance, but the same whenever the same ones are finished.

    Args:
        outcome: A study and its runs.

    Raises:
        ValueError: If no run is finished.
    """
    finished = {one.run.key: one for one in outcome.runs if one.state == "finished"}
    if not finished:
        raise ValueError("no run of the study is finished, so there is nothing to reproduce; ablate does the runs")
    # Keys are hashes of configurations, so nobody chooses what their own hash picks.
    keys = sorted(finished)
    chance = int(hashlib.sha256(" ".join(keys).encode()).hexdigest(), 16)
    return finished[keys[chance % len(keys)]]
