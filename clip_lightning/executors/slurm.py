"""Runs as jobs of SLURM, submitted by submitit."""

import getpass
import importlib
import os
import pickle
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clip_lightning.executors.base import OUTPUT, Launch, State

JOB = "slurm_job"
"""File of a run's folder with the number of its latest job, by which a new study process finds it."""

SIGNAL_SECONDS = 120
"""How long before its time limit a job is told: for the step and the evaluation under way, and the checkpoint."""

_LATE_SECONDS = 30.0
"""How long after a job left the queue its result may still appear on a shared file system."""


class Slurm:
    """Does runs as tasks of job arrays, which go on where the study's own process ends.

    A job that comes to its time limit, or is preempted, writes a checkpoint and is queued again by submitit. ``fit``
    itself requeues on SIGUSR1 only, which these jobs are not sent.

    Args:
        timeout_minutes: Time limit of a job.
        cpus: Cores of a job, and threads of its run.
        gpus: GPUs of a job; a run uses one.
        memory_gigabytes: Memory of a job; None for the cluster's default.
        partition: Where to queue; None for the default.
        at_once: Jobs at a time; None for as many as SLURM allows.
        requeues: How often a job that comes to its time limit is queued again.
        setup: Lines of shell before each run, such as ``module load``.
        parameters: Further options of sbatch by their long names, such as ``{account: mine}``.

    Raises:
        ValueError: If submitit is not installed, or there is no SLURM.
    """

    is_here = False

    def __init__(
        self,
        timeout_minutes: int = 24 * 60,
        cpus: int = 4,
        gpus: int = 0,
        memory_gigabytes: float | None = None,
        partition: str | None = None,
        at_once: int | None = None,
        requeues: int = 20,
        setup: list[str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> None:
        try:
            self._submitit: Any = importlib.import_module("submitit")
        except ImportError:
            raise ValueError("executor Slurm needs submitit; pip install 'clip-lightning[slurm]'") from None
        for program in ("sbatch", "squeue", "scancel"):
            if shutil.which(program) is None:
                raise ValueError(f"executor Slurm needs {program}, which is not on this machine; use LocalPool here")
        self.threads, self.at_once = cpus, at_once
        self._requeues = requeues
        self._options: dict[str, Any] = {
            "time": timeout_minutes,
            "cpus_per_task": cpus,
            "gpus_per_node": gpus or None,
            "mem": f"{round(memory_gigabytes * 1024)}M" if memory_gigabytes else None,
            "partition": partition,
            "array_parallelism": at_once or 1000,
            "signal_delay_s": SIGNAL_SECONDS,
            "setup": setup,
            "additional_parameters": parameters,
        }
        self._folder = Path()
        self._missed_since: dict[str, float] = {}

    def submit(self, launches: Sequence[Launch]) -> list[str]:
        """Submits one array, of the runs that have no job in the queue yet."""
        queue = _queue() or {}
        self._folder = launches[0].run_dir.parent / "slurm"
        held = {launch: job for launch in launches if (job := _noted(launch)) in queue}
        new = [launch for launch in launches if launch not in held]
        if new:
            executor = self._submitit.SlurmExecutor(self._folder, max_num_timeout=self._requeues)
            options = {name: value for name, value in self._options.items() if value is not None}
            executor.update_parameters(job_name="clip_lightning", **options)
            with executor.batch():
                jobs = [executor.submit(RunCommand(list(launch.command), str(launch.run_dir))) for launch in new]
            for launch, job in zip(new, jobs, strict=True):
                (launch.run_dir / JOB).write_text(job.job_id)
                held[launch] = job.job_id
        return [str(held[launch]) for launch in launches]

    def poll(self, jobs: Sequence[str]) -> dict[str, State]:
        """How jobs stand, by their results and by what the queue says; without accounting SLURM knows no more."""
        queue = _queue()
        return {job: self._state(job, queue) for job in jobs}

    def cancel(self, jobs: Sequence[str]) -> None:
        """Cancels jobs; SLURM gives them its KillWait, 30 seconds by default, for a checkpoint."""
        if jobs:
            subprocess.run(["scancel", *jobs], capture_output=True, check=False)

    def _state(self, job: str, queue: dict[str, str] | None) -> State:
        result = self._submitit.core.utils.JobPaths(self._folder, job).result_pickle
        if result.exists():
            return "done" if _exit_code(result) == 0 else "failed"
        if queue is None or job in queue:
            self._missed_since.pop(job, None)
            return "running" if queue and queue[job] in ("R", "CG") else "waiting"
        since = self._missed_since.setdefault(job, time.monotonic())
        return "failed" if time.monotonic() - since > _LATE_SECONDS else "running"


class RunCommand:
    """What a job does: starts the run's command, and stops it where SLURM is about to.

    Args:
        command: The run's command.
        folder: The run's folder.
    """

    def __init__(self, command: list[str], folder: str) -> None:
        self._command, self._folder = command, folder
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """Runs the command, and returns its exit code."""
        with (Path(self._folder) / OUTPUT).open("ab") as output:
            # The warning is for submitit alone; SLURM sends it to all processes of the job.
            self._process = subprocess.Popen(
                self._command, stdout=output, stderr=subprocess.STDOUT, preexec_fn=_ignore_warnings
            )
            return self._process.wait()

    def checkpoint(self) -> Any:
        """Has the run write a checkpoint, and says what the job does when it is begun again."""
        if self._process is not None:
            self._process.terminate()
            # Not by its own ``wait``, which holds a lock in the call that this signal has interrupted.
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        return importlib.import_module("submitit").helpers.DelayedSubmission(RunCommand(self._command, self._folder))


def _ignore_warnings() -> None:
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def _noted(launch: Launch) -> str:
    path = launch.run_dir / JOB
    return path.read_text() if path.exists() else ""


def _queue() -> dict[str, str] | None:
    """The short state of each of the user's jobs that are not over; None where SLURM does not answer."""
    command = ["squeue", "--noheader", "--array", "--user", getpass.getuser(), "--format", "%i %t"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    if answer.returncode:
        return None
    return dict(line.split() for line in answer.stdout.splitlines() if line.strip())


def _exit_code(result: Path) -> int:
    """What a job's result says; a job that ended by an error has none, and counts as 1."""
    with result.open("rb") as file:
        outcome, value = pickle.load(file)
    return int(value) if outcome == "success" else 1
