# .venv/bin/python benchmarks/studies.py
"""What a study costs beside its runs: 24 small ones, two at a time on two cores, and a report on 200.

The 24 runs are real ones, of a thread each. Each notes when its process began and when it ended, so the study is
compared with the very same runs under the same load. What is left of the two places' time when the runs' own is taken
away is the overhead. The process that waits for them must not have loaded torch. The 200 runs of the report are copies.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from clip_lightning.__main__ import main as clip_lightning
from clip_lightning.ablation.folder import STUDY, read_plan
from clip_lightning.ablation.runs import SharedRuns
from clip_lightning.executors import Launch, LocalPool

REPOSITORY = Path(__file__).parents[1]
PLACES = 2
SMALL = {"data.train.size": 256, "data.samples_per_epoch": None, "model.tokenizer.corpus.size": 64}


class TimedPool(LocalPool):
    """A pool whose processes note their times beside the run's output."""

    def submit(self, launches: Sequence[Launch]) -> list[str]:
        """Puts the same runs into the queue, each within a process that notes its times."""
        timed = (sys.executable, str(Path(__file__).resolve()), "--timed")
        return super().submit([Launch((*timed, str(run.run_dir), *run.command), run.run_dir) for run in launches])


class Span(NamedTuple):
    """Seconds since 1970 at which a process began and ended."""

    began: float
    ended: float


def timed(folder: Path, command: Sequence[str]) -> int:
    """Runs a command, and leaves its times in a run's folder."""
    began = time.time()
    code = subprocess.call(command)
    (folder / "span.json").write_text(json.dumps(Span(began, time.time())))
    return code


def study(seeds: int) -> dict[str, object]:
    """A study of two variants."""
    return {
        "question": "What does a study cost beside its runs?",
        "source": "none",
        "base": [str(REPOSITORY / "configs" / "quickstart.yaml")],
        "variants": {"narrow": SMALL, "wide": {**SMALL, "model.embed_dim": 128}},
        "metrics": {"test/zero_shot/shape_scenes/accuracy": "max"},
        "seeds": list(range(seeds)),
        "budget": {"samples": 512},
        "executor": {"class_path": "studies.TimedPool", "init_args": {"at_once": PLACES, "devices": []}},
    }


def run_study(seeds: int) -> None:
    """Does the 24 runs, and prints what the study took beside them."""
    base = Path("untracked.yaml")
    base.write_text(yaml.safe_dump({"trainer": {"logger": False}}))
    asked = study(seeds)
    asked["base"] = [*asked["base"], str(base)]  # type: ignore[misc]
    Path("cost.yaml").write_text(yaml.safe_dump(asked))
    began = time.time()
    assert clip_lightning(["ablate", "--config", "cost.yaml"]) == 0
    took = time.time() - began
    loaded = sorted({"torch", "lightning", "mlflow"} & set(sys.modules))
    spans = [Span(*json.loads(path.read_text())) for path in Path("runs/by_config").glob("*/span.json")]
    own = sum(span.ended - span.began for span in spans)
    whole = max(span.ended for span in spans) - min(span.began for span in spans)
    print(f"\nruns                     {len(spans)}, {own / len(spans):.1f} s each in the mean")
    print(f"from first to last       {whole:.1f} s; half the sum of the runs is {own / PLACES:.1f} s")
    print(f"ratio                    {whole / (own / PLACES):.3f}")
    print(f"overhead a run           {(whole * PLACES - own) / len(spans):.2f} s")
    print(f"before and after them    {took - whole:.1f} s: building and timing the variants, the report")
    print(f"loaded by the study      {', '.join(loaded) or 'neither torch nor lightning nor mlflow'}")


def report(runs: int) -> None:
    """Has a process write the report on so many runs, and prints what it took."""
    plan = read_plan(Path("runs/studies/cost"))
    done = [SharedRuns(plan.study.runs_dir).folder(plan.run(name, 0)).path for name in plan.study.variants]
    content = json.loads((Path("runs/studies/cost") / STUDY).read_text())
    content["study"] |= {"seeds": list(range(runs // len(done))), "runs_dir": "runs/copies"}
    Path("runs/studies/many").mkdir()
    (Path("runs/studies/many") / STUDY).write_text(json.dumps(content))
    many = read_plan(Path("runs/studies/many"))
    for name, folder in zip(plan.study.variants, done, strict=True):
        for seed in many.study.seeds.fixed:
            copy = Path("runs/copies") / many.run(name, seed).key
            shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("checkpoints"))
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
    command = [sys.executable, "-m", "clip_lightning", "report", "--study", "runs/studies/many"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"report on {runs} runs       {time.time() - began:.1f} s, {cpu:.1f} s of the processor")


def main() -> int:
    """Prints all figures."""
    if sys.argv[1:2] == ["--timed"]:
        return timed(Path(sys.argv[2]), sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=12, help="of each of the two variants")
    parser.add_argument("--report_runs", type=int, default=200)
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        run_study(options.seeds)
        report(options.report_runs)
        os.chdir(REPOSITORY)
    return 0


if __name__ == "__main__":
    sys.exit(main())
