"""Processes that others start: by torchrun, and by a real SLURM, which stops a job and begins it again."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from killing import DRAWING, differences
from slurm import ask, running_slurm

from clip_lightning.tracking import journal

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).parents[2]
TWO = ["--config", DRAWING, "--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.max_epochs", "8"]


def environment_of(own):
    """One in which the programs of this Python and the tests' encoder are found."""
    path = f"{Path(sys.executable).parent}:{own['PATH']}"
    return {**own, "PATH": path, "PYTHONPATH": f"{REPOSITORY}:{Path(__file__).parent}", "OMP_NUM_THREADS": "1"}


def torchrun(*arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "clip_lightning", "fit", *map(str, arguments)]
    environment = environment_of(dict(os.environ))
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=400)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of two processes of torchrun that was left alone."""
    run = tmp_path_factory.mktemp("whole") / "run"
    done = torchrun(*TWO, "--run_dir", run)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run folder") == 1, "one process speaks"
    return run


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (TWO, ["2 processes", "--run_dir"]),
        ([*TWO, "--run_dir", "x", "--trainer.devices", "3"], ["trainer.devices is 3", "--trainer.devices 2"]),
    ],
)
def test_a_mistake_is_told_of_by_one_process(arguments, words):
    done = torchrun(*arguments)
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("clip_lightning fit:")]
    assert len(said) == 1, done.stderr
    assert all(word in said[0] for word in words)


def test_a_job_that_slurm_stops_is_queued_again_and_ends_as_if_nothing_had_been(whole, tmp_path):
    run = tmp_path / "run"
    with running_slurm(tmp_path / "slurm") as own:
        script = str(REPOSITORY / "configs" / "cluster" / "slurm.sh")
        command = ["sbatch", "--parsable", "--ntasks-per-node", "2", "--output", str(tmp_path / "log"), "--time", "60"]
        submitted = subprocess.run(
            [*command, "--chdir", str(REPOSITORY), script, *TWO, "--run_dir", str(run)],
            env=environment_of(own), capture_output=True, text=True, check=True,
        )  # fmt: skip
        job = submitted.stdout.strip()

        def wait_for(is_there, seconds):
            deadline = time.monotonic() + seconds
            while not is_there():
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.2)

        wait_for(lambda: step_of(run) >= 5, 240)
        subprocess.run(["scancel", "--signal", "USR1", job], env=own, check=True)
        wait_for(lambda: f"job {job} is requeued" in (tmp_path / "log").read_text(), 120)
        stopped_at = step_of(run)
        # SLURM holds a job back for two minutes before it begins it again.
        wait_for(lambda: "COMPLETED" in ask(own, "scontrol", "show", "job", job), 420)
        assert "Restarts=1" in ask(own, "scontrol", "show", "job", job)
    assert 5 <= stopped_at < 44
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert differences(whole, run) == []


def step_of(run):
    path = run / "journal.jsonl"
    return journal.metrics(path)["train/loss"].step[-1] if path.exists() and b"train/loss" in path.read_bytes() else 0
