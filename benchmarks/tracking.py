# .venv/bin/python benchmarks/tracking.py
"""What the delivery to MLflow takes from a training step while MLflow is well, slow, silent or absent.

The quickstart's model trains with tracking, on one thread; the process that delivers is stopped and let go on again
every second, and the steps of both kinds are compared within the run, since a shared machine's speed differs more from
run to run than what is measured. Its start, which imports MLflow once a run, is not part of a step. Printed are the
ratios of the mean step, in which a single step that stalls shows, and of the median step.
"""

import contextlib
import multiprocessing
import os
import signal
import socket
import socketserver
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
from lightning.pytorch import Callback
from overhead import build

from clip_lightning.callbacks import Checkpoints
from clip_lightning.tracking.logger import MLflowTracker

STEPS = 500
START_SECONDS = 8.0


class StepEnds(Callback):
    """Notes when each training step has ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *args: Any) -> None:
        """Notes the time."""
        self.ends.append(time.perf_counter())


def delivering() -> list[psutil.Process]:
    """The processes that deliver for this one."""
    return [child for child in psutil.Process().children() if "clip_lightning.tracking.sidecar" in child.cmdline()]


def switch_delivery(switches: list[tuple[float, bool]], done: threading.Event) -> None:
    """Stops the delivering process and lets it go on, a second each, and notes when; first it may start in peace."""
    if done.wait(START_SECONDS):
        return
    while not done.wait(1.0):
        runs = not (switches and switches[-1][1])
        for process in delivering():
            process.send_signal(signal.SIGCONT if runs else signal.SIGSTOP)
        switches.append((time.perf_counter(), runs))


def measure(uri: str) -> tuple[list[float], list[float]]:
    """Seconds of steps while the delivery runs, and while it is stopped."""
    with tempfile.TemporaryDirectory() as folder:
        cli = build(folder, STEPS)
        tracker = MLflowTracker(uri, patience_seconds=1.0)
        tracker.attach(Path(folder))
        cli.trainer.loggers = [tracker]
        steps, switches, done = StepEnds(), [], threading.Event()
        kept = [part for part in cli.trainer.callbacks if not isinstance(part, Checkpoints)]
        cli.trainer.callbacks = [*kept, steps]
        thread = threading.Thread(target=switch_delivery, args=(switches, done))
        thread.start()
        cli.trainer.fit(cli.model, cli.datamodule)
        done.set()
        thread.join()
        for process in delivering():
            process.kill()
        tracker._forget_process()  # what is left in its journal is nobody's
    found: dict[bool, list[float]] = {True: [], False: []}
    for (start, runs), (end, _) in pairwise(switches):
        found[runs] += [after - before for before, after in pairwise(steps.ends) if start < before and after < end]
    return found[True], found[False]


class LateAnswers(socketserver.BaseRequestHandler):
    """Passes a connection on to the port ``target`` of its server; each part of an answer comes a second late."""

    def handle(self) -> None:
        """Passes on until either side closes."""
        with socket.create_connection(("127.0.0.1", self.server.target)) as upstream:
            threading.Thread(target=self._pass_on, args=(self.request, upstream, 0.0), daemon=True).start()
            self._pass_on(upstream, self.request, 1.0)

    def _pass_on(self, source: socket.socket, sink: socket.socket, seconds: float) -> None:
        with contextlib.suppress(OSError):
            while part := source.recv(2**16):
                time.sleep(seconds)
                sink.sendall(part)


@contextlib.contextmanager
def slow_server(database: Path) -> Iterator[str]:
    """MLflow's server behind a proxy that delays its answers, both in processes of their own."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{database}"]
    proxy = socketserver.ThreadingTCPServer(("127.0.0.1", 0), LateAnswers)
    proxy.daemon_threads, proxy.target = True, port
    passing = multiprocessing.get_context("fork").Process(target=proxy.serve_forever, daemon=True)
    passing.start()
    server = subprocess.Popen(
        command, cwd=database.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        connect_until_it_answers(port)
        yield f"http://127.0.0.1:{proxy.server_address[1]}"
    finally:
        os.killpg(server.pid, 9)
        server.wait()
        passing.terminate()


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def connect_until_it_answers(port: int) -> None:
    """Waits for a server to come up."""
    for _ in range(1200):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.1)
    raise TimeoutError(f"MLflow's server did not come up on port {port}")


def main() -> None:
    """Prints a line for each condition."""
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.create_server(("127.0.0.1", 0)) as silent,
        slow_server(Path(folder) / "slow.db") as slow,
    ):
        uris = {
            "well (embedded store)": f"sqlite:///{folder}/mlflow.db",
            "slow": slow,
            "accepting without answering": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "absent": f"http://127.0.0.1:{free_port()}",
        }
        for name, uri in uris.items():
            running, stopped = measure(uri)
            mean = statistics.mean(running) / statistics.mean(stopped) - 1
            median = statistics.median(running) / statistics.median(stopped) - 1
            print(f"{name:<28} mean step {mean:+.1%}, median step {median:+.1%} of {len(running)}", flush=True)


if __name__ == "__main__":
    main()
