"""What only real processes show: start-up, Ctrl-C, and two processes that train as one."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from clip_lightning.checkpoint import read_checkpoint
from clip_lightning.results import read_results

REPOSITORY = Path(__file__).parents[2]
TINY = "tests/conf/tiny.yaml"


def run(*arguments, **options):
    command = [sys.executable, "-m", "clip_lightning", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=False, env=environment, **options
    )


def cpu_seconds(code):
    """CPU time of a fresh Python process, the least of three."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *code], cwd=REPOSITORY, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


def test_help_costs_a_fraction_of_importing_torch():
    assert cpu_seconds(["-m", "clip_lightning", "--help"]) <= 0.4 * cpu_seconds(["-c", "import torch"])


def test_help_names_the_verbs_and_a_verbs_help_its_keys():
    top = run("--help")
    assert top.returncode == 0
    assert all(verb in top.stdout for verb in ("fit", "validate", "test", "sync"))
    fit = run("fit", "--help")
    assert fit.returncode == 0, fit.stderr
    assert "--model.image_encoder" in fit.stdout
    assert "--checkpoints.monitor" in fit.stdout
    assert "torch.nn.modules" not in fit.stdout, "a bare nn.Module as a type lists every module there is"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config", TINY, "fit"], ["--config stands before the verb", "fit --config"]),
        (["fitt"], ["'fitt' is no verb", "'fit'"]),
    ],
)
def test_a_wrong_beginning_is_explained(arguments, words):
    done = run(*arguments)
    assert done.returncode == 2
    assert all(word in done.stderr for word in words)
    assert "Traceback" not in done.stderr


def test_the_output_of_a_run_is_readable_and_free_of_noise(tmp_path):
    done = run("fit", "--config", TINY, "--run_dir", tmp_path / "x")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "x")
    *lines, speed, bound = done.stderr.strip().splitlines()
    # One for each epoch, and on a machine that is busy some between them.
    assert list(dict.fromkeys(line.split()[1] for line in lines)) == ["1", "2"], done.stderr
    assert all(line.startswith("epoch ") and "loss" in line and "temperature" in line for line in lines)
    assert speed.startswith("speed       ")
    assert "pairs/s" in speed
    assert "MFU not known" in speed, "nobody knows the peak of a CPU"
    assert bound.startswith("bound by    ")


@pytest.mark.slow
def test_ctrl_c_ends_with_a_message_and_keeps_the_checkpoint(tmp_path):
    command = [sys.executable, "-m", "clip_lightning", "fit", "--config", TINY, "--run_dir", str(tmp_path / "x")]
    command += ["--trainer.max_epochs", "100000"]
    process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    last = tmp_path / "x" / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not last.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "Traceback" not in error
    assert "--run_dir" in error.splitlines()[-1]
    assert read_checkpoint(last)["global_step"] >= 6


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ddp", "fsdp2"])
def test_two_processes_train_and_evaluate_as_one(name, tmp_path):
    for devices in (1, 2):
        strategy = ["--trainer.devices", devices, "--trainer.strategy", name if devices > 1 else "auto"]
        # Adam would turn the rounding noise of gradients that are zero, as of the keys' biases, into steps.
        strategy += ["--model.optimizer", "{class_path: torch.optim.SGD, init_args: {lr: 0.5}}"]
        done = run("fit", "--config", TINY, "--run_dir", tmp_path / str(devices), *strategy)
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr
    one, two = (read_checkpoint(tmp_path / name / "checkpoints" / "last.ckpt")["state_dict"] for name in "12")
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=0, atol=1e-5)
    for ours, theirs in zip(*(read_results(tmp_path / name / "results.json") for name in "12"), strict=True):
        assert (ours.name, ours.n, ours.missing) == (theirs.name, theirs.n, theirs.missing)
        assert ours.value == pytest.approx(theirs.value, abs=2 / ours.n)
    losses = [
        [r["values"]["val/loss"] for r in map(json.loads, (tmp_path / name / "journal.jsonl").open()) if
         r["kind"] == "metrics" and "val/loss" in r["values"]]
        for name in "12"
    ]  # fmt: skip
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
