"""Real processes: a trainer, its sidecar, MLflow's server; what counts is which rows are in the store afterwards."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from clip_lightning.tracking.journal import metrics
from clip_lightning.tracking.mlflow_delivery import deliver
from clip_lightning.tracking.training_process import is_abandoned

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")]

# A trainer that imports no torch: it logs a point at each step, until there are enough, or a file "stop" is found.
TRAINER = """
import pathlib, sys, time
from clip_lightning.tracking.journal import Journal
from clip_lightning.tracking.sidecar_handle import SidecarHandle
from clip_lightning.tracking.training_process import describe_process

run_dir, uri, steps, pause = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
run_dir.mkdir(exist_ok=True)
journal = Journal(run_dir / "journal.jsonl")
journal.start("live", run_dir.name, uri, describe_process())
journal.log_status("RUNNING")
sidecar = SidecarHandle(run_dir, uri)
for step in range(steps):
    journal.log_metrics({"loss": 1.0 / (step + 1), "accuracy": float(step)}, step)
    print(step, flush=True)
    time.sleep(pause)
    if (run_dir / "stop").exists():
        break
journal.log_status("FINISHED")
journal.close()
print("delivered" if sidecar.wait(60) else "not delivered", flush=True)
"""


def start_trainer(run_dir, uri, steps=50, pause=0.0):
    command = [sys.executable, "-c", TRAINER, str(run_dir), uri, str(steps), str(pause)]
    # A session of its own, so that a signal to its process group, as the terminal's Ctrl-C, reaches no test.
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def loss_rows(store, run_dir):
    return [(step, value) for name, step, value in store.metrics(run_dir) if name == "loss"]


def expected_rows(steps):
    return [(step, 1.0 / (step + 1)) for step in range(steps)]


def sidecars_of(run_dir):
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if "clip_lightning.tracking.sidecar" in command and str(run_dir) in command:
            found.append(process)
    return found


class Server:
    """MLflow's server on a port of this machine, which can be frozen, killed and started again."""

    def __init__(self, folder: Path, database: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        self._command += ["--backend-store-uri", f"sqlite:///{database}", "--workers", "1"]
        self._command += ["--artifacts-destination", str(folder / "artifacts")]
        self._log = folder / "server.log"
        self._process = None

    def start(self):
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, start_new_session=True)
        wait_for(self._answers, 120)

    def _answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.settimeout(2)
                connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
                return b"200" in connection.recv(100)
        except OSError:
            return False

    def signal(self, number):
        os.killpg(self._process.pid, number)

    def stop(self):
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


@pytest.fixture
def server(tmp_path, store):
    # A copy of the store that exists by now: creating one costs seconds. The tests read the copy.
    if not store.database.exists():
        from clip_lightning.tracking.mlflow_requests import connected_client

        connected_client(store.uri)
    database = tmp_path / "server.db"
    with sqlite3.connect(store.database) as source, sqlite3.connect(database) as copy:
        source.backup(copy)
    server = Server(tmp_path, database)
    yield server
    server.stop()


@pytest.fixture
def server_store(server, tmp_path, store):
    served = type(store)(tmp_path / "server.db")
    served.uri = server.uri
    return served


def test_a_server_that_comes_late_freezes_dies_and_returns_gets_every_row_once(
    server, server_store, tmp_path, monkeypatch
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
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
    (uploaded,) = (tmp_path / "artifacts").rglob("config.yaml")
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
    with start_trainer(run_dir, "http://127.0.0.1:9", steps=20) as trainer:
        assert trainer.stdout.read().splitlines()[-1] == "not delivered"
    wait_for(lambda: not sidecars_of(run_dir))
    assert "incomplete: python -m clip_lightning sync" in (run_dir / "tracking.log").read_text()
    deliver(run_dir, store.uri)
    assert loss_rows(store, run_dir) == expected_rows(20)


def test_eight_first_starts_at_once_on_a_new_store_lose_no_row(tmp_path, store):
    new = type(store)(tmp_path / "runs" / "mlflow.db")
    run_dirs = [tmp_path / f"run{i}" for i in range(8)]
    trainers = [start_trainer(run_dir, new.uri, steps=200) for run_dir in run_dirs]
    for trainer in trainers:
        trainer.communicate(timeout=300)
    for run_dir in run_dirs:
        wait_for(lambda run_dir=run_dir: not sidecars_of(run_dir), 120)
        assert loss_rows(new, run_dir) == expected_rows(200)
    assert len(new.query("select * from experiments where name = 'live'")) == 1
    assert len(new.query("select * from runs")) == 8


def test_a_tracker_waits_at_its_end_until_all_is_delivered(tmp_path, store, monkeypatch, capsys):
    from clip_lightning.tracking import logger

    monkeypatch.setattr(logger, "WAIT_SECONDS", 60.0)
    tracker = logger.MLflowTracker(store.uri, experiment="live", run_name="tracked")
    tracker.attach(tmp_path)
    for step in range(30):
        tracker.log_metrics({"loss": 1.0 / (step + 1)}, step)
    tracker.finalize("failed")
    tracker.close()
    assert loss_rows(store, tmp_path) == expected_rows(30)
    assert store.status(tmp_path) == "FAILED"
    assert capsys.readouterr().err == ""
    tracker.rewind(25)
    for step in range(25, 40):
        tracker.log_metrics({"loss": 1.0 / (step + 1)}, step)
    tracker.close()
    assert loss_rows(store, tmp_path) == expected_rows(40)
    assert store.status(tmp_path) == "FINISHED"
    assert capsys.readouterr().err == ""


def test_delivery_prints_nothing_in_the_users_terminal(tmp_path, store):
    run_dir = tmp_path / "run"
    with start_trainer(run_dir, "http://127.0.0.1:9", steps=1) as trainer:
        trainer.stdout.read()
    shutil.rmtree(tmp_path / "new", ignore_errors=True)
    program = (
        "import pathlib, sys; from clip_lightning.tracking.mlflow_delivery import deliver\n"
        "deliver(pathlib.Path(sys.argv[1]), sys.argv[2])"
    )
    command = [sys.executable, "-c", program, run_dir, f"sqlite:///{tmp_path}/new/mlflow.db"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (answer.stdout, answer.stderr) == ("", "")
