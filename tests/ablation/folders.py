"""Folders of runs as ``fit`` leaves them, made up: for reports on many."""

from clip_lightning.ablation.runs import SharedRuns
from clip_lightning.results import Result, write_results
from clip_lightning.tracking.journal import Journal
from clip_lightning.tracking.training_process import describe_process

METRIC = "test/zero_shot/shape_scenes/accuracy"


def finish(runs: SharedRuns, run, value, steps=12):
    """Leaves a finished run whose metric has a value."""
    folder = runs.prepare(run, {})
    journal = Journal(folder.journal)
    journal.start("x", "y", "sqlite:///x", describe_process())
    for step in range(1, steps + 1):
        journal.log_metrics({"train/loss": 3 / step, "throughput/pairs_per_second": 100 + step}, step)
        if step % 4 == 0:
            journal.log_metrics({METRIC.replace("test", "val"): value * step / steps, "val/loss": 2 / step}, step)
    journal.log_status("FINISHED")
    journal.close()
    write_results(folder.results, [Result(METRIC, value, None, "", 20, 0, "accuracy")])


def fail(runs: SharedRuns, run, said):
    """Leaves a run that has failed."""
    folder = runs.prepare(run, {})
    (folder.path / "output.log").write_text(said)
