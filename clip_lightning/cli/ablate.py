"""``ablate``: does the runs that a study's file asks for, and writes its report. This process has no torch."""

import contextlib
import itertools
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from clip_lightning.ablation.facts import Facts
from clip_lightning.ablation.folder import write_plan
from clip_lightning.ablation.parent_run import ParentRun
from clip_lightning.ablation.plan import Plan
from clip_lightning.ablation.progress import StudyProgress, describe_seconds
from clip_lightning.ablation.runner import Runner, Standing
from clip_lightning.ablation.runs import SharedRuns
from clip_lightning.ablation.study import KEYS, Study
from clip_lightning.ablation.variants import lay_over
from clip_lightning.cli.compose import compose
from clip_lightning.cli.errors import UserError
from clip_lightning.config import Config
from clip_lightning.executors import Executor, build_executor
from clip_lightning.tracking.run_folder import RunFolder

USAGE = """usage: python -m clip_lightning ablate --config FILE [--output DIR] [--dry_run] [--KEY VALUE ...]

Compares variants over seeds: does the runs that the study's file asks for and that are not there yet, and writes a
report. The same command goes on after any interruption, and does only what is missing when seeds or variants are added.
  --config FILE     the study, such as configs/ablations/image_encoder.yaml
  --output DIR      its folder; runs/studies/NAME by default
  --dry_run         show what would be done and about how long it takes, and do nothing
  --KEY VALUE       any key of the file, such as --seeds '[0, 1, 2, 3, 4, 5, 6]' or --executor.at_once 2
Keys: """ + ", ".join(KEYS)

DEFAULT_ROOT = Path("runs") / "studies"


class _Given(NamedTuple):
    study: Study
    config: Config
    output: Path
    is_dry: bool


def main(arguments: Sequence[str]) -> int:
    """Does a study.

    Args:
        arguments: Command line after the verb.

    Returns:
        Exit code: 0, or 1 if a run has failed for good.

    Raises:
        UserError: If something is wrong with the study, before anything runs.
    """
    if not arguments or {"--help", "-h"} & set(arguments):
        print(USAGE)
        return 0
    given = read_arguments(arguments)
    executor = build_executor(given.study.executor)
    composed = compose_variants(given.study)
    runs = SharedRuns(given.study.runs_dir)
    plan = Plan(given.study, find_facts(composed, executor, runs))
    show_plan(plan, runs, executor)
    if given.is_dry:
        return 0
    folder = RunFolder.open(given.output)
    if folder.is_claimed:
        raise UserError(f"another process does the study in {given.output}; wait for it or stop it, or give --output")
    with folder.claimed():
        write_plan(given.output, given.config, plan)
        standing = do_runs(plan, runs, executor, given.output, arguments)
    print(given.output)
    return 1 if standing.failed else 0


def read_arguments(arguments: Sequence[str]) -> _Given:
    """Reads the study from its file and the options beside it.

    Raises:
        UserError: If no file is named, or an option is not understood.
        ValueError: If something in the file is wrong.
    """
    options = [argument for argument in arguments if argument != "--dry_run"]
    config, rest = compose(options, ("config", "output", *KEYS))
    if rest:
        raise UserError(
            f"{rest[0]!r} is not understood; options are --config FILE, --output DIR, --dry_run, --KEY VALUE"
        )
    files = [Path(value) for key, value in itertools.pairwise(options) if key == "--config"]
    files += [Path(option.removeprefix("--config=")) for option in options if option.startswith("--config=")]
    if not files:
        raise UserError("no study is named; give --config FILE, such as configs/ablations/image_encoder.yaml")
    output = config.pop("output", None)
    study = Study.read(config, files[-1].stem)
    folder = Path(str(output)) if output else DEFAULT_ROOT / study.name
    return _Given(study, config, folder, len(options) < len(arguments))


def compose_variants(study: Study) -> dict[str, Config]:
    """The configuration of each variant, by the rule of ``fit``."""
    base = lay_over({}, [("config", study.base)])
    return {name: lay_over(base, options) for name, options in study.variants.items()}


def find_facts(composed: dict[str, Config], executor: Executor, runs: SharedRuns) -> dict[str, Facts]:
    """Has a process build each variant, and try some steps of it.

    Raises:
        UserError: If one is not accepted.
    """
    trying = ", and trying some steps of each" if executor.is_here else ""
    print(f"building {len(composed)} variants{trying}", file=sys.stderr, flush=True)
    request = {"variants": composed, "is_here": executor.is_here, "threads": executor.threads}
    with tempfile.TemporaryDirectory() as name:
        asked, answered = Path(name) / "request.json", Path(name) / "answer.json"
        asked.write_text(json.dumps({**request, "timings": str(runs.root / "timings")}))
        build_apart(asked, answered)
        answer = json.loads(answered.read_text())
    if "error" in answer:
        raise UserError(answer["error"])
    return {name: Facts(**found) for name, found in answer["facts"].items()}


def build_apart(asked: Path, answered: Path) -> None:
    """Has another process answer a request, since this one is to have no torch.

    Raises:
        RuntimeError: If it ends without an answer, by a fault of the program.
    """
    command = [sys.executable, "-m", "clip_lightning.cli.resolution", str(asked), str(answered)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the process that builds the variants ended with code {done.returncode}:\n{done.stdout}")


def show_plan(plan: Plan, runs: SharedRuns, executor: Executor) -> None:
    """Prints what will be done, and about how long it takes."""
    study = plan.study
    print(f"question    {study.question}")
    print(f"seeds       {study.seeds}")
    print(f"budget      {study.budget or 'as each variant says'}")
    if study.hopeless:
        print(f"early end   {study.hopeless}")
    print(f"decides     {study.decides}; differences from {study.baseline!r}")
    rows = [("variant", "parameters", "image GFLOPs", "steps", "samples", "a run takes", "runs to do")]
    seconds, missing = 0.0, 0
    for name, facts in plan.facts.items():
        own = facts.seconds(plan.steps[name])
        to_do = [run for seed in study.seeds.fixed if not runs.is_finished(run := plan.run(name, seed))]
        seconds, missing = seconds + (own or 0) * len(to_do), missing + len(to_do)
        rows.append(
            (
                name,
                f"{facts.parameters:,}",
                f"{facts.image_flops / 1e9:.4g}" if facts.image_flops else "-",
                f"{plan.steps[name]:,}",
                f"{plan.steps[name] * facts.batch_size:,}",
                describe_seconds(own) if own else "-",
                f"{len(to_do)} of {len(study.seeds.fixed)}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        print("  ".join([first.ljust(widths[0]), *cells]))
    at_once = executor.at_once
    if seconds and at_once:
        print(f"cost        {missing} runs, about {describe_seconds(seconds / at_once)} with {at_once} at a time")
    else:
        print(f"cost        {missing} runs" + ("" if executor.is_here else "; what one takes there is not known here"))
    sys.stdout.flush()


def do_runs(plan: Plan, runs: SharedRuns, executor: Executor, output: Path, arguments: Sequence[str]) -> Standing:
    """Does what is missing, and records the study beside its runs.

    Raises:
        KeyboardInterrupt: With how to go on, if the study is interrupted.
    """
    parent = ParentRun(output, plan)
    runner = Runner(plan, runs, executor, parent.begin(), StudyProgress(plan, runs))
    try:
        with ending_at_sigterm():
            standing = runner.run()
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt)
        parent.end("KILLED" if stopped else "FAILED", [], {})
        if stopped:
            raise KeyboardInterrupt("interrupted; the same command goes on, and runs go on from checkpoints") from None
        raise
    # Drawing takes a second to load, which has its time now.
    from clip_lightning.cli.report import write_study_report

    written = write_study_report(output, ["report", "--study", str(output)])
    parent.end("FAILED" if standing.failed else "FINISHED", [output / "study.json", *written], {})
    print("".join(f"report      {path}\n" for path in written), end="")
    return standing


@contextlib.contextmanager
def ending_at_sigterm() -> Iterator[None]:
    """Meanwhile, the end of a job or of a session ends a study as Ctrl-C does, with checkpoints of its runs."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
