"""Four faults of the server, one real ``fit`` each: afterwards its database and its artifacts are counted."""

import contextlib
import json
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from processes import sidecars_of, wait_for

from clip_lightning.tracking.delivery_state import read_state
from clip_lightning.tracking.mlflow_names import mlflow_name
from clip_lightning.tracking.mlflow_requests import PARAM_LENGTH

pytestmark = pytest.mark.slow

TINY = Path(__file__).parents[1] / "conf" / "tiny.yaml"
LOGGER = "clip_lightning.tracking.logger.MLflowTracker"


@pytest.fixture(autouse=True)
def _hasty(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def start_fit(run_dir, uri, patience=0.0, epochs=1):
    command = [sys.executable, "-m", "clip_lightning", "fit", "--config", TINY, "--run_dir", run_dir]
    command += ["--trainer.logger", LOGGER, "--trainer.logger.tracking_uri", uri, "--trainer.max_epochs", epochs]
    command += ["--trainer.logger.patience_seconds", patience]
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def assert_fit_is_well(fit, *, delivers):
    """It ended as it would without tracking; a hint is given only where something is left to deliver."""
    message = fit.communicate(timeout=300)[1]
    assert fit.returncode == 0, message
    assert ("python -m clip_lightning sync" in message) is not delivers, message


def sync(run_dir, *arguments):
    subprocess.run([sys.executable, "-m", "clip_lightning", "sync", run_dir, *arguments], check=True)


def records(run_dir, kind):
    """What the journals hold, of those that there are yet."""
    journals = [path for path in (run_dir / "journal.jsonl", run_dir / "system.jsonl") if path.exists()]
    lines = [json.loads(line) for journal in journals for line in journal.read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def written_points(run_dir):
    """Each metric point of the journals, as text where that is exact."""
    return Counter(
        (mlflow_name(name), record["step"], repr(float(value)), record["time"])
        for record in records(run_dir, "metrics")
        for name, value in record["values"].items()
    )


def stored_points(store, run_id):
    # MLflow has a flag for NaN, and 0 as its value.
    statement = "select key, step, iif(is_nan, 'nan', value), timestamp from metrics where run_uuid = ?"
    return Counter((name, step, repr(float(value)), time) for name, step, value, time in store.query(statement, run_id))


def assert_nothing_is_lost_or_double(run_dir, uri, server, store):
    run_id = read_state(run_dir, uri).run_id
    points = written_points(run_dir)
    assert {"train/loss", "val/loss"} <= {name for name, *_ in points}
    assert set(points.values()) == {1}
    assert stored_points(store, run_id) == points
    params = {}
    for record in records(run_dir, "params"):
        params |= {mlflow_name(name): value[:PARAM_LENGTH] for name, value in record["values"].items()}
    stored = store.query("select key, value from params where run_uuid = ?", run_id)
    assert sorted(stored) == sorted(params.items())
    assert len(params) > 50
    artifacts = {record["path"]: (run_dir / record["path"]).read_bytes() for record in records(run_dir, "artifact")}
    assert artifacts.keys() == {"config.yaml", "provenance.json", "results.json", "overview.png"}
    (root,) = server.artifacts.glob(f"*/{run_id}/artifacts")
    assert {path.name: path.read_bytes() for path in root.iterdir()} == artifacts
    assert store.query("select status from runs where run_uuid = ?", run_id) == [("FINISHED",)]


def test_a_server_that_is_absent_at_the_start_gets_everything_by_sync(server, server_store, tmp_path):
    server.stop()
    assert_fit_is_well(start_fit(tmp_path / "run", server.uri), delivers=False)
    assert server_store.query("select * from tags where value = ?", read_state(tmp_path / "run", server.uri).key) == []
    server.start()
    sync(tmp_path / "run")
    assert_nothing_is_lost_or_double(tmp_path / "run", server.uri, server, server_store)


def test_a_server_that_accepts_without_answering_is_replaced_by_another(server, server_store, tmp_path):
    server.start()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        fit = start_fit(tmp_path / "run", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert_fit_is_well(fit, delivers=False)
        wait_for(lambda: not sidecars_of(tmp_path / "run"))  # only one process delivers
        sync(tmp_path / "run", "--tracking_uri", server.uri)
    assert_nothing_is_lost_or_double(tmp_path / "run", server.uri, server, server_store)


class LateAnswers(socketserver.BaseRequestHandler):
    """Passes a connection on to the port ``target`` of its server; each part of an answer comes late."""

    def handle(self):
        with socket.create_connection(("127.0.0.1", self.server.target)) as upstream:
            threading.Thread(target=self._pass_on, args=(self.request, upstream, 0.0), daemon=True).start()
            self._pass_on(upstream, self.request, 0.1)

    def _pass_on(self, source, sink, seconds):
        with contextlib.suppress(OSError):
            while part := source.recv(2**16):
                time.sleep(seconds)
                sink.sendall(part)
            sink.shutdown(socket.SHUT_WR)


def test_a_slow_server_gets_everything_while_the_sidecar_lives(server, server_store, tmp_path):
    server.start()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), LateAnswers) as proxy:
        proxy.daemon_threads, proxy.target = True, server.port
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{proxy.server_address[1]}"
        fit = start_fit(tmp_path / "run", uri, patience=120)
        fit.communicate(timeout=300)
        assert fit.returncode == 0
        wait_for(lambda: not sidecars_of(tmp_path / "run"))
        proxy.shutdown()
    assert_nothing_is_lost_or_double(tmp_path / "run", uri, server, server_store)


def test_a_server_that_is_killed_under_a_live_run_and_restarted_gets_the_rest(server, server_store, tmp_path):
    server.start()
    run_dir = tmp_path / "run"
    fit = start_fit(run_dir, server.uri, patience=300, epochs=3)
    wait_for(lambda: records(run_dir, "metrics"))
    # The trainer rests, so that the server dies in the middle of the run on a machine of any speed.
    fit.send_signal(signal.SIGSTOP)
    wait_for(lambda: (run_id := read_state(run_dir, server.uri).run_id) and stored_points(server_store, run_id))
    server.stop()
    before = stored_points(server_store, read_state(run_dir, server.uri).run_id)
    fit.send_signal(signal.SIGCONT)
    wait_for(lambda: records(run_dir, "close"))
    assert stored_points(server_store, read_state(run_dir, server.uri).run_id) == before
    server.start()
    fit.communicate(timeout=300)
    assert fit.returncode == 0
    wait_for(lambda: not sidecars_of(run_dir))
    assert 0 < before.total() < written_points(run_dir).total()
    assert_nothing_is_lost_or_double(run_dir, server.uri, server, server_store)
