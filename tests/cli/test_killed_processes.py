"""Real processes, killed three times while they train: what they end as, and which rows MLflow has afterwards."""

import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from killing import DRAWING, curves, differences

from clip_lightning.tracking import journal
from clip_lightning.tracking.mlflow_delivery import deliver

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).parents[2]
EPOCHS = 30


def start(run, *arguments):
    command = [sys.executable, "-m", "clip_lightning", "fit", "--config", DRAWING, "--run_dir", str(run)]
    command += ["--trainer.max_epochs", str(EPOCHS), "--num_threads", "1", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finish(process):
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0, out.decode()


def steps_seen(run):
    path = run / "journal.jsonl"
    return journal.metrics(path)["train/loss"].step[-1] if path.exists() and b"train/loss" in path.read_bytes() else 0


def kill_after(process, run, step):
    deadline = time.monotonic() + 240
    while steps_seen(run) < step:
        assert process.poll() is None, process.communicate()[0].decode()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.communicate()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was left alone."""
    run = tmp_path_factory.mktemp("whole") / "run"
    finish(start(run))
    return run


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("steps", [(4, 50, 110), (27, 61, 150)], ids=str)
def test_three_kills_change_nothing_and_leave_no_gap_and_no_double_point_in_mlflow(whole, tmp_path, steps, num_workers):
    run, database = tmp_path / "run", tmp_path / "mlflow.db"
    tracker = "{class_path: clip_lightning.tracking.logger.MLflowTracker, init_args: {tracking_uri: 'sqlite:///%s'}}"
    arguments = ["--data.num_workers", num_workers, "--trainer.logger", tracker % database]
    for step in steps:
        kill_after(start(run, *arguments), run, step)
    finish(start(run, *arguments))
    assert [line for line in differences(whole, run) if not line.startswith("files")] == []
    deliver(run)
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(
            "select key, step from metrics where key not like 'system/%' and key not like 'throughput/%'"
        ).fetchall()
        runs = connection.execute("select status from runs").fetchall()
    assert runs == [("FINISHED",)], "one run of MLflow's, however often it was begun"
    expected = Counter((name, step) for name, step, _ in curves(whole))
    assert {row for row in rows if not row[0].startswith("test/")} == set(expected)
    repeated = {row for row, times in Counter(rows).items() if times > 1}
    # Lightning reports the epoch with the training metrics and with those of a validation, also of the same step.
    assert {name for name, _ in repeated} <= {"epoch"}
