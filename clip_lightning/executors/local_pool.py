"""Runs on this machine: one a GPU, or some at a time on the CPU."""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from clip_lightning.executors.base import OUTPUT, Launch, State

GRACE_SECONDS = 120.0
"""How long a cancelled run may take for the step and the evaluation under way, and for its checkpoint."""

_PR_SET_PDEATHSIG = 1  # Source: prctl(2), linux/prctl.h


class LocalPool:
    """Does runs in processes of this machine, which end with this one, however it ends.

    Args:
        at_once: Runs at a time: on each GPU, or, without GPUs, on the CPU, whose cores they share evenly.
        devices: GPUs by their CUDA numbers, one a run. None: those of ``CUDA_VISIBLE_DEVICES``, or else all that
            nvidia-smi lists; an empty list: none.

    Raises:
        ValueError: If ``at_once`` is below 1.
    """

    is_here = True

    def __init__(self, at_once: int = 1, devices: list[int | str] | None = None) -> None:
        if isinstance(at_once, bool) or not isinstance(at_once, int) or at_once < 1:
            raise ValueError(f"at_once is {at_once!r}; give the number of runs at a time, 1 or more")
        found: list[str | None] = [*(visible_gpus() if devices is None else map(str, devices))]
        self._free = [device for device in found or [None] for _ in range(at_once)]
        self.at_once: int | None = len(self._free)
        self.threads = max(1, len(os.sched_getaffinity(0)) // len(self._free))
        self._queue: deque[tuple[str, Launch]] = deque()
        self._running: dict[str, _Running] = {}
        self._ended: dict[str, State] = {}
        self._submitted = 0

    def submit(self, launches: Sequence[Launch]) -> list[str]:
        """Puts runs at the end of the queue."""
        jobs = []
        for launch in launches:
            self._submitted += 1
            jobs.append(str(self._submitted))
            self._queue.append((jobs[-1], launch))
        self._fill()
        return jobs

    def poll(self, jobs: Sequence[str]) -> dict[str, State]:
        """How jobs stand; starts those that there is room for now."""
        for job, running in list(self._running.items()):
            if (code := running.process.poll()) is not None:
                self._ended[job] = "failed" if code else "done"
                self._free.append(self._running.pop(job).device)
        self._fill()
        return {job: self._ended.get(job) or ("running" if job in self._running else "waiting") for job in jobs}

    def cancel(self, jobs: Sequence[str]) -> None:
        """Drops waiting jobs and stops running ones; what does not stop in time, or at a second Ctrl-C, is killed."""
        self._queue = deque((job, launch) for job, launch in self._queue if job not in jobs)
        stopped = [self._running[job].process for job in jobs if job in self._running]
        for process in stopped:
            process.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        try:
            for process in stopped:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - time.monotonic()))
        finally:
            for process in stopped:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()

    def _fill(self) -> None:
        while self._queue and self._free:
            job, launch = self._queue.popleft()
            device = self._free.pop(0)
            self._running[job] = _Running(_start(launch, device, self.threads), device)


class _Running(NamedTuple):
    process: "subprocess.Popen[bytes]"
    device: str | None


def _start(launch: Launch, device: str | None, threads: int) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    if device is not None:
        environment["CUDA_VISIBLE_DEVICES"] = device
    parent = os.getpid()
    with (launch.run_dir / OUTPUT).open("ab") as output:
        return subprocess.Popen(
            launch.command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            # Ctrl-C in the terminal is for the study, which then has each run write a checkpoint.
            start_new_session=True,
            preexec_fn=lambda: _die_with(parent),
        )


def _die_with(parent: int) -> None:
    """Has the kernel kill this process when its parent ends, even by kill -9; a run goes on from its checkpoint."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # It ended before the line above.
            os._exit(1)


def visible_gpus() -> list[str]:
    """The GPUs that runs may use, asked of the environment or of the driver, since torch is not loaded here."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [device.strip() for device in chosen.split(",") if device.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.split() if answer.returncode == 0 else []
