"""Real processes for the tests: trainers with their sidecars, and MLflow's server."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

# A trainer that imports no torch: it logs a point at each step, until there are enough, or a file "stop" is found.
TRAINER = """
import pathlib, signal, sys, time
from clip_lightning.tracking.journal import Journal
from clip_lightning.tracking.sidecar_handle import SidecarHandle
from clip_lightning.tracking.training_process import describe_process

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
run_dir, uri, patience, steps, pause = pathlib.Path(sys.argv[1]), sys.argv[2], *map(float, sys.argv[3:])
run_dir.mkdir(exist_ok=True)
journal = Journal(run_dir / "journal.jsonl")
journal.start("live", run_dir.name, uri, describe_process())
journal.log_status("RUNNING")
sidecar = SidecarHandle(run_dir, uri, patience)
for step in range(int(steps)):
    journal.log_metrics({"loss": 1.0 / (step + 1), "accuracy": float(step)}, step)
    print(step, flush=True)
    time.sleep(pause)
    if (run_dir / "stop").exists():
        break
journal.log_status("FINISHED")
journal.close()
print("delivered" if sidecar.wait(patience + 300) else "not delivered", flush=True)
"""


def start_trainer(run_dir, uri, steps=50, pause=0.0, patience=120.0):
    command = [sys.executable, "-c", TRAINER, str(run_dir), uri, str(patience), str(steps), str(pause)]
    # A session of its own, so that a signal to its process group, as the terminal's Ctrl-C, reaches no test.
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def wait_for(condition, seconds=300.0):
    """Waits as long as a busy machine may take; sidecars come last there."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def sidecars_of(run_dir):
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if "clip_lightning.tracking.sidecar" in command and str(run_dir) in command:
            found.append(process)
    return found


class Server:
    """MLflow's server on a port of this machine, which can be frozen, killed and started again.

    A test says itself whether it runs: the server is as the test before has left it.
    """

    def __init__(self, folder: Path, database: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.database, self.artifacts = database, folder / "artifacts"
        self._command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        self._command += ["--backend-store-uri", f"sqlite:///{database}", "--workers", "1"]
        self._command += ["--artifacts-destination", str(self.artifacts)]
        self._log = folder / "server.log"
        self._process = None

    def start(self):
        if self._process is None:
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(self._command, stdout=log, stderr=log, start_new_session=True)
            wait_for(self._answers)

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
