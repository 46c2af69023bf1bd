"""Real processes: a study that is killed, one of its runs that is killed, and what MLflow has of them in the end."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import yaml
from killing import DRAWING, differences, fit

from clip_lightning.tracking import journal
from clip_lightning.tracking.mlflow_delivery import deliver

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).parents[2]
TRACKER = "clip_lightning.tracking.logger.MLflowTracker"


def write(folder, **changes):
    tracked = folder / "tracked.yaml"
    uri = f"sqlite:///{folder}/mlflow.db"
    logger = {"class_path": TRACKER, "init_args": {"tracking_uri": uri, "experiment": "drawing"}}
    tracked.write_text(yaml.safe_dump({"trainer": {"logger": logger, "max_epochs": 15}}))
    study = {
        "question": "Is it faster?",
        "source": "none",
        "base": [DRAWING, str(tracked)],
        "variants": {"slow": {}, "fast": {"model.optimizer.lr": 0.02}},
        "metrics": {"val/zero_shot/shape_scenes/accuracy": "max"},
        "seeds": [0],
        "executor": {"class_path": "LocalPool", "init_args": {"at_once": 2, "devices": []}},
        **changes,
    }
    path = folder / "speed.yaml"
    path.write_text(yaml.safe_dump(study))
    return path


def start(folder, path, *arguments):
    command = [sys.executable, "-m", "clip_lightning", "ablate", "--config", str(path), *arguments]
    paths = f"{REPOSITORY}:{Path(__file__).parent}"
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process):
    out, _ = process.communicate(timeout=900)
    assert process.returncode == 0, out
    return out


def steps(folder):
    """Steps of the runs that have made some, by folder."""
    found = {}
    for path in folder.glob("runs/by_config/*/journal.jsonl"):
        if b"train/loss" in path.read_bytes():
            found[path.parent] = journal.metrics(path)["train/loss"].step[-1]
    return found


def wait_for(is_there, process, seconds=600):
    deadline = time.monotonic() + seconds
    while not is_there():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.2)


def fits_of(process):
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "fit" in child.cmdline()]


def have_ended(processes, seconds=30):
    deadline = time.monotonic() + seconds
    while any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_a_study_is_killed_and_stopped_and_a_run_is_killed_and_all_ends_as_if_nothing_had_been(tmp_path):
    path = write(tmp_path)
    killed = start(tmp_path, path)
    wait_for(lambda: len(steps(tmp_path)) == 2 and min(steps(tmp_path).values()) > 10, killed)
    fits = fits_of(killed)
    assert len(fits) == 2
    killed.kill()
    killed.communicate()
    assert have_ended(fits), "runs die with the study"
    stopped = start(tmp_path, path)
    wait_for(lambda: min(steps(tmp_path).values()) > 30, stopped)
    fits = fits_of(stopped)
    stopped.send_signal(signal.SIGINT)
    out, _ = stopped.communicate(timeout=300)
    assert stopped.returncode == 130, out
    assert "interrupted; the same command goes on" in out.splitlines()[-1]
    assert "Traceback" not in out
    assert have_ended(fits, 1), "they are waited for"
    last = start(tmp_path, path)
    wait_for(lambda: max(steps(tmp_path).values()) > 60, last)
    fits_of(last)[0].kill()
    out = finish(last)
    assert "tried again" in out
    assert out.splitlines()[-1] == "runs/studies/speed"
    runs = [path.parent for path in tmp_path.glob("runs/by_config/*/results.json")]
    assert len(runs) == 2
    for run in runs:
        rewinds = [record.content["step"] for record in journal.read(run / "journal.jsonl") if record.kind == "rewind"]
        assert max(rewinds) > 30, "they go on from where they were stopped"
        whole = tmp_path / "whole" / run.name
        assert fit(whole, "--config", run / "config.yaml", "--trainer.logger", "false") == 0
        assert [line for line in differences(whole, run) if not line.startswith("files")] == []


def test_eight_runs_at_once_lose_nothing_in_mlflow(tmp_path):
    variants = {
        f"lr={rate}": {"model.optimizer.lr": rate, "trainer.max_epochs": 4} for rate in (0.01, 0.02, 0.03, 0.04)
    }
    pool = {"class_path": "LocalPool", "init_args": {"at_once": 8, "devices": []}}
    finish(start(tmp_path, write(tmp_path, variants=variants, seeds=[0, 1], executor=pool)))
    for run in tmp_path.glob("runs/by_config/*/results.json"):
        deliver(run.parent)  # what has not been delivered while the runs were waited for
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
        rows = connection.execute("select run_uuid, key, step from metrics where key not like 'system/%'").fetchall()
        tags = connection.execute("select run_uuid, key, value from tags").fetchall()
        statuses = dict(connection.execute("select run_uuid, status from runs").fetchall())
    assert set(statuses.values()) == {"FINISHED"}
    parents = {run: value for run, key, value in tags if key == "mlflow.parentRunId"}
    assert len(statuses) == 9
    assert len(parents) == 8
    parent = set(parents.values())
    assert parent == statuses.keys() - parents.keys()
    names = {value for run, key, value in tags if key == "clip_lightning.variant"}
    assert names == set(variants)
    expected = Counter()
    for path in tmp_path.glob("runs/by_config/*/journal.jsonl"):
        series = journal.metrics(path).items()
        expected += Counter({(name, step) for name, rows in series for step in rows.step})
    assert Counter((key, step) for run, key, step in set(rows) if run in parents) == expected
