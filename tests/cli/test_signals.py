"""Signals that ask a run to stop: a checkpoint within the step, the right exit code, and nothing lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from killing import DRAWING, differences, fit

from clip_lightning.checkpoint import read_checkpoint
from clip_lightning.tracking import journal

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was left alone."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert fit(run) == 0
    return run


def step_of(run):
    return read_checkpoint(run / "checkpoints" / "last.ckpt")["global_step"]


def last_status(run):
    return [record.content["status"] for record in journal.read(run / "journal.jsonl") if record.kind == "status"][-1]


@pytest.mark.parametrize(
    ("number", "place", "call", "step"),
    [
        (signal.SIGINT, "forward", 9, 5),
        (signal.SIGTERM, "forward", 10, 5),  # the second half of an accumulated batch
        (signal.SIGUSR1, "forward", 11, 6),  # the last of an epoch
        (signal.SIGTERM, "validation", 2, 3),
        (signal.SIGTERM, "evaluation", 2, 6),
        (signal.SIGTERM, "evaluation", 6, 18),  # after the last step of all
    ],
)
def test_a_signal_ends_with_a_checkpoint_of_the_same_step_and_nothing_is_lost(
    whole, tmp_path, capfd, number, place, call, step
):
    run = tmp_path / "run"
    assert fit(run, kill=(place, call), signal_number=number) == 128 + number
    error = capfd.readouterr().err
    assert "Traceback" not in error
    assert f"at step {step}; go on from its last checkpoint with: python -m clip_lightning fit" in error
    assert step_of(run) == step
    assert last_status(run) == "KILLED"
    assert fit(run) == 0
    assert differences(whole, run) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT])
def test_a_signal_before_the_first_step_leaves_nothing_behind(tmp_path, capfd, number):
    run = tmp_path / "run"
    assert fit(run, kill=("building", 1), signal_number=number) == 128 + number
    error = capfd.readouterr().err
    assert "Traceback" not in error
    assert "interrupted" in error or "begin again with: python -m clip_lightning fit" in error
    assert not run.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_final_measurements_is_made_up_for_by_the_same_command(whole, tmp_path, capfd, number):
    run = tmp_path / "run"
    assert fit(run, kill=("evaluation", 7), signal_number=number) == 128 + number
    error = capfd.readouterr().err
    assert "Traceback" not in error
    assert "go on from its last checkpoint with: python -m clip_lightning fit" in error
    assert last_status(run) == "KILLED"
    assert not (run / "overview.png").exists()
    assert fit(run) == 0
    assert (run / "overview.png").read_bytes() == (whole / "overview.png").read_bytes(), "the picture is complete"
    assert differences(whole, run) == []


def test_a_second_ctrl_c_ends_at_once(tmp_path, capfd):
    run = tmp_path / "run"
    assert fit(run, kill=("forward", 10), signal_number=signal.SIGINT, times=2) == 130
    assert step_of(run) == 4, "the step is not finished"
    assert "ended at once" in capfd.readouterr().err
    assert fit(run) == 0


@pytest.mark.parametrize(("given", "words"), [(True, "job 7_3 is requeued"), (False, "job 7_3 is not requeued")])
def test_the_warning_of_slurm_has_the_job_run_again(tmp_path, monkeypatch, capfd, given, words):
    log = tmp_path / "log"
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name, value in {"JOB_ID": "9", "ARRAY_JOB_ID": "7", "ARRAY_TASK_ID": "3"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run" if given else None
    assert fit(run, kill=("forward", 2), signal_number=signal.SIGUSR1) == 128 + signal.SIGUSR1
    assert words in capfd.readouterr().err
    assert log.exists() is given
    if given:
        assert log.read_text() == "requeue 7_3\n"


@pytest.mark.slow
def test_a_signal_to_one_of_two_processes_stops_both_at_the_same_step(tmp_path):
    command = [sys.executable, "-m", "clip_lightning", "fit", "--config", DRAWING, "--run_dir", str(tmp_path / "run")]
    command += ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.max_epochs"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*command, "100000"], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, env=environment)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 240
    while not last.exists():
        assert time.monotonic() < deadline, process.poll()
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, error
    assert "Traceback" not in error
    assert len(read_checkpoint(last)["callbacks"]["RandomStates"]["processes"]) == 2
    assert f"at step {step_of(tmp_path / 'run'):,};" in error
