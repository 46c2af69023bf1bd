"""Real processes: a trainer, its sidecar, MLflow's server; what counts is which rows are in the store afterwards."""

import os
import shutil
import signal
import subprocess
import sys

import pytest
from processes import sidecars_of, start_trainer, wait_for

from clip_lightning.tracking.journal import metrics
from clip_lightning.tracking.mlflow_delivery import deliver
from clip_lightning.tracking.training_process import is_abandoned

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")]


def loss_rows(store, run_dir):
    return [(step, value) for name, step, value in store.metrics(run_dir) if name == "loss"]


def expected_rows(steps):
    return [(step, 1.0 / (step + 1)) for step in range(steps)]


def test_a_server_that_comes_late_freezes_dies_and_returns_gets_every_row_once(
    server, server_store, tmp_path, monkeypatch
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    server.stop()
    run_dir = tmp_path / "run"
    log = run_dir / "tracking.log"

    def wait_for_steps(number):
        enough = len(metrics(run_dir / "journal.jsonl")["loss"].step) + number
        wait_for(lambda: len(metrics(run_dir / "journal.jsonl")["loss"].step) >= enough)

    with start_trainer(run_dir, server.uri, steps=10**6, pause=0.1) as trainer:
        trainer.stdout.readline()
        wait_for(lambda: "attempt 1: " in log.read_text())
        server.start()
        wait_for(lambda: (run_dir / "tracking.json").exists() and len(loss_rows(server_store, run_dir)) > 20)
        server.signal(signal.SIGSTOP)
        wait_for(lambda: "Read timed out" in log.read_text())
        wait_for_steps(20)
        server.signal(signal.SIGCONT)
        wait_for_steps(20)
        server.stop()
        wait_for_steps(50)
        server.start()
        (run_dir / "stop").touch()
        assert trainer.stdout.read().splitlines()[-1] == "delivered"
    assert loss_rows(server_store, run_dir) == expected_rows(len(metrics(run_dir / "journal.jsonl")["loss"].step))
    assert server_store.status(run_dir) == "FINISHED"
    assert metrics(run_dir / "system.jsonl")


def test_artifacts_and_special_floats_pass_through_a_server_in_silence(server, server_store, tmp_path, capfd):
    from clip_lightning.tracking.journal import Journal

    server.start()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("a: 1")
    journal = Journal(tmp_path / "run" / "journal.jsonl")
    journal.start("live", None, server.uri, {"host": "elsewhere", "pid": 1, "started": 0})
    journal.log_metrics({"up": float("inf"), "nan": float("nan")}, 0)
    journal.log_params({f"p{i}": "\u5b89" * 7000 for i in range(120)})
    journal.log_artifact(tmp_path / "run" / "config.yaml")
    journal.log_status("FINISHED")
    capfd.readouterr()
    counts = deliver(tmp_path / "run")
    assert capfd.readouterr() == ("", "")
    assert (counts.metrics, counts.params, counts.artifacts, counts.refused) == (2, 120, 1, 0)
    assert len(server_store.metrics(tmp_path / "run")) == 2
    assert {len(value) for value in server_store.params(tmp_path / "run").values()} == {6000}
    (uploaded,) = server.artifacts.glob(f"*/{server_store.run_id(tmp_path / 'run')}/artifacts/config.yaml")
    assert uploaded.read_text() == "a: 1"


def test_a_killed_trainers_sidecar_delivers_what_is_there_and_ends(tmp_path, store):
    run_dir = tmp_path / "run"
    with start_trainer(run_dir, store.uri, steps=10**6, pause=0.01) as trainer:
        for _ in range(50):
            trainer.stdout.readline()
        assert len(sidecars_of(run_dir)) == 1
        trainer.kill()
        trainer.stdout.read()
    assert is_abandoned(run_dir / "journal.jsonl")
    wait_for(lambda: not sidecars_of(run_dir))
    written = len(metrics(run_dir / "journal.jsonl")["loss"].step)
    assert written >= 50
    assert loss_rows(store, run_dir) == expected_rows(written)
    assert store.status(run_dir) == "KILLED"


def test_ctrl_c_ends_the_trainer_and_not_the_delivery(tmp_path, store):
    run_dir = tmp_path / "run"
    with start_trainer(run_dir, store.uri, steps=10**6, pause=0.01) as trainer:
        for _ in range(50):
            trainer.stdout.readline()
        os.killpg(trainer.pid, signal.SIGINT)
        trainer.stdout.read()
    wait_for(lambda: not sidecars_of(run_dir))
    written = len(metrics(run_dir / "journal.jsonl")["loss"].step)
    assert loss_rows(store, run_dir) == expected_rows(written)


def test_a_killed_sidecar_is_made_up_for_by_a_later_delivery(tmp_path, store):
    run_dir = tmp_path / "run"
    with start_trainer(run_dir, store.uri, steps=40, pause=0.05) as trainer:
        for _ in range(20):
            trainer.stdout.readline()
        (sidecar,) = sidecars_of(run_dir)
        sidecar.kill()
        assert trainer.stdout.read().splitlines()[-1] == "not delivered"
    deliver(run_dir)
    assert loss_rows(store, run_dir) == expected_rows(40)
    assert store.status(run_dir) == "FINISHED"


def test_without_a_server_the_sidecar_ends_soon_after_the_trainer(tmp_path, store):
    run_dir = tmp_path / "run"
    with start_trainer(run_dir, "http://127.0.0.1:9", steps=20, patience=3) as trainer:
        assert trainer.stdout.read().splitlines()[-1] == "not delivered"
    wait_for(lambda: not sidecars_of(run_dir))
    assert "incomplete: python -m clip_lightning sync" in (run_dir / "tracking.log").read_text()
    deliver(run_dir, store.uri)
    assert loss_rows(store, run_dir) == expected_rows(20)


# Eight runs of one name that begin at the same moment; forked, since importing Lightning takes seconds.
EIGHT_TRACKERS = """
import multiprocessing
from clip_lightning.tracking.logger import MLflowTracker

def train(barrier, number):
    barrier.wait()
    tracker = MLflowTracker(experiment="live", run_name="study")
    tracker.log_hyperparams({"number": number})
    for step in range(200):
        tracker.log_metrics({"loss": 1.0 / (step + 1)}, step)
    tracker.close()

fork = multiprocessing.get_context("fork")
barrier = fork.Barrier(8)
processes = [fork.Process(target=train, args=(barrier, number)) for number in range(8)]
for process in processes:
    process.start()
for process in processes:
    process.join()
"""


def test_eight_first_starts_at_once_on_a_new_store_lose_no_row(tmp_path, store, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    subprocess.run([sys.executable, "-c", EIGHT_TRACKERS], cwd=tmp_path, check=True, timeout=300)
    run_dirs = list((tmp_path / "runs" / "study").iterdir())
    assert len(run_dirs) == 8
    new = type(store)(tmp_path / "runs" / "mlflow.db")
    for run_dir in run_dirs:
        wait_for(lambda log=run_dir / "tracking.log": " INFO complete" in log.read_text())
        assert loss_rows(new, run_dir) == expected_rows(200)
    assert sorted(new.params(run_dir)["number"] for run_dir in run_dirs) == list("01234567")
    assert len(new.query("select * from experiments where name = 'live'")) == 1
    assert len(new.query("select * from runs")) == 8


def test_a_tracker_waits_at_its_end_until_all_is_delivered(tmp_path, store, monkeypatch, capsys):
    from clip_lightning.tracking import logger

    monkeypatch.setattr(logger, "WAIT_SECONDS", 300.0)
    tracker = logger.MLflowTracker(store.uri, experiment="live", run_name="tracked")
    tracker.attach(tmp_path)
    for step in range(30):
        tracker.log_metrics({"loss": 1.0 / (step + 1)}, step)
    tracker.finalize("failed")
    tracker.close()
    assert loss_rows(store, tmp_path) == expected_rows(30)
    assert store.status(tmp_path) == "FAILED"
    assert capsys.readouterr().err == ""
    tracker.rewind(25, after=0)
    for step in range(25, 40):
        tracker.log_metrics({"loss": 1.0 / (step + 1)}, step)
    tracker.close()
    assert loss_rows(store, tmp_path) == expected_rows(40)
    assert store.status(tmp_path) == "FINISHED"
    assert capsys.readouterr().err == ""


def test_delivery_prints_nothing_in_the_users_terminal(tmp_path, store):
    run_dir = tmp_path / "run"
    with start_trainer(run_dir, "http://127.0.0.1:9", steps=1, patience=0) as trainer:
        trainer.stdout.read()
    shutil.rmtree(tmp_path / "new", ignore_errors=True)
    program = (
        "import pathlib, sys; from clip_lightning.tracking.mlflow_delivery import deliver\n"
        "deliver(pathlib.Path(sys.argv[1]), sys.argv[2])"
    )
    command = [sys.executable, "-c", program, run_dir, f"sqlite:///{tmp_path}/new/mlflow.db"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (answer.stdout, answer.stderr) == ("", "")
