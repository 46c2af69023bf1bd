# .venv/bin/python benchmarks/tracking.py
"""What tracking adds to a training step when MLflow is well, slow, silent or absent, against no tracking at all.

The quickstart's model trains for the same steps without a logger and under each condition, in interleaved rounds of one
process, on one thread. A step is counted in wall time, with whatever the process that delivers takes from it: its
start, which imports MLflow, falls into these steps too. Printed are the ratios of the mean step, in which a single step
that stalls shows, and of the median step; and, in CPU time of the training process alone, of the mean step, which a
busy machine disturbs least. Each is the median over the rounds, with the range.
"""

import argparse
import contextlib
import io
import multiprocessing
import os
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

from lightning.pytorch import Callback
from overhead import build

from clip_lightning.callbacks import Checkpoints
from clip_lightning.tracking.logger import MLflowTracker

WARMUP_STEPS = 5


class StepEnds(Callback):
    """Notes when each training step has ended, on the clock and in CPU seconds."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def on_train_batch_end(self, *args: Any) -> None:
        """Notes the times."""
        self.wall.append(time.perf_counter())
        self.cpu.append(time.process_time())


def train(uri: str | None, steps: int) -> dict[str, float]:
    """Trains once.

    Args:
        uri: Where MLflow is; None to track nothing.
        steps: Optimiser steps.

    Returns:
        Milliseconds of a step by name, without the first ones.
    """
    with tempfile.TemporaryDirectory() as folder:
        cli = build(folder, steps)
        ends = StepEnds()
        cli.trainer.callbacks = [part for part in cli.trainer.callbacks if not isinstance(part, Checkpoints)] + [ends]
        trackers = [MLflowTracker(uri, patience_seconds=0)] if uri else []
        cli.trainer.loggers = trackers
        for tracker in trackers:
            tracker.attach(folder)
        cli.trainer.fit(cli.model, cli.datamodule)
        with contextlib.redirect_stderr(io.StringIO()):  # "not everything has reached ..." is meant to happen here.
            for tracker in trackers:
                tracker.close()
    wall, cpu = ([1e3 * (b - a) for a, b in pairwise(seconds[WARMUP_STEPS:])] for seconds in (ends.wall, ends.cpu))
    return {"mean": statistics.mean(wall), "median": statistics.median(wall), "CPU": statistics.mean(cpu)}


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


def spread(ratios: list[float]) -> str:
    """Median and range, as differences from 1."""
    return f"{statistics.median(ratios) - 1:+.1%} ({min(ratios) - 1:+.1%} to {max(ratios) - 1:+.1%})"


def compare(uris: dict[str, str | None], steps: int, rounds: int) -> None:
    """Prints the ratios of each condition to the first one."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in uris}
    for round_number in range(rounds):
        # Every other round goes backwards, so that a machine that slows down favours none.
        for name in list(uris)[:: 1 if round_number % 2 == 0 else -1]:
            found[name].append(train(uris[name], steps))
            times = ", ".join(f"{kind} {value:.1f} ms" for kind, value in found[name][-1].items())
            print(f"round {round_number + 1} {name:>9}: {times}", flush=True)
    first, *others = uris
    for name in others:
        for kind in found[name][0]:
            ratios = [mine[kind] / base[kind] for mine, base in zip(found[name], found[first], strict=True)]
            print(f"{name:>9}: {kind:>6} step {spread(ratios)}")


def main() -> None:
    """Prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200, help="steps in a round")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds")
    options = parser.parse_args()
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "3"  # After the steps, where nothing is measured, it is waited for.
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.create_server(("127.0.0.1", 0)) as silent,
        slow_server(Path(folder) / "server.db") as slow,
    ):
        uris = {
            "none": None,
            "embedded": f"sqlite:///{folder}/mlflow.db",
            "slow": slow,
            "silent": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "absent": f"http://127.0.0.1:{free_port()}",
        }
        train(uris["embedded"], 20)  # Not measured: MLflow makes its tables, and PyTorch warms up.
        compare(uris, options.steps, options.rounds)


if __name__ == "__main__":
    main()
