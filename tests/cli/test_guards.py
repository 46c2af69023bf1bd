"""Steps that are not finite, through the command line: left out, counted, resumed exactly, and the end of a run."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from killing import differences, fit

from clip_lightning.checkpoint import read_checkpoint
from clip_lightning.tracking import journal

REPOSITORY = Path(__file__).parents[2]


def poisoned(first, last, rank=0):
    """Arguments of a run of 18 steps of two batches each, of which a range of batches is not finite."""
    arguments = f"{{first: {first}, last: {last}, rank: {rank}}}"
    encoder = f"{{class_path: poisoned_encoder.PoisonedEncoder, init_args: {arguments}}}"
    return ["--model.image_encoder", encoder, "--trainer.max_epochs", "3"]


def weights(run, name):
    return read_checkpoint(run / "checkpoints" / f"{name}.ckpt")["state_dict"]


def skipped(run):
    return journal.metrics(run / "journal.jsonl")["train/skipped_steps"].value


def test_bad_steps_are_left_out_counted_and_told_of_and_a_continued_run_is_the_same(tmp_path, capfd):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    # Batches 6 to 9 are the second of step 3, both of step 4, and the first of step 5.
    assert fit(whole, *poisoned(6, 9), "--trainer.gradient_clip_val", 1.0) == 0
    lines = capfd.readouterr().err.splitlines()
    assert "skipped     3 of 18 steps, whose loss or gradients were not finite" in lines
    assert any(line.startswith("epoch ") and "3 steps skipped" in line for line in lines)
    assert skipped(whole)[:6] == [0, 0, 1, 2, 3, 3]
    for name in ("last", "previous", "best"):
        assert all(torch.isfinite(value).all() for value in weights(whole, name).values())
    averages = journal.metrics(whole / "journal.jsonl")["train/loss_epoch"].value
    assert len(averages) == 3
    assert all(0 < value < 10 for value in averages), "of the batches that were finite"

    stopped = ("forward", 9)
    arguments = [*poisoned(6, 9), "--trainer.gradient_clip_val", 1.0]
    assert fit(parts, *arguments, kill=stopped, signal_number=signal.SIGTERM) == 128 + signal.SIGTERM
    assert fit(parts, *arguments) == 0
    # NaN, which the bad batches report, is not equal to itself.
    assert [line for line in differences(whole, parts) if not line.endswith(", nan)")] == []
    assert skipped(parts) == skipped(whole)


def test_a_run_of_bad_steps_ends_with_their_samples_and_the_weights_from_before(tmp_path, capfd):
    run = tmp_path / "run"
    arguments = [*poisoned(7, 999), "--guards.max_skipped_in_a_row", 4]
    assert fit(run, *arguments, "--checkpoints.every_n_steps", 1, "--trainer.val_check_interval", 1.0) == 2
    told = [line for line in capfd.readouterr().err.splitlines() if line and not line.startswith("epoch ")]
    assert len(told) == 1, told
    assert told[0].startswith("clip_lightning fit: the last 4 steps up to step 7 were skipped")
    assert "model.optimizer.init_args.lr" in told[0]
    assert str(run / "skipped_samples.json") in told[0]

    listed = json.loads((run / "skipped_samples.json").read_text())["steps"]
    assert [entry["step"] for entry in listed] == [4, 5, 6, 7]
    # 88 samples make 11 batches, the last of which is a step alone: 16, 16, 8 samples, and 16 of the next epoch.
    assert [len(entry["samples"]) for entry in listed] == [16, 16, 8, 16]
    before_end = {sample["index"] for entry in listed[:3] for sample in entry["samples"]}
    assert len(before_end) == 40, "an epoch has each sample once"
    first = listed[0]["samples"][0]
    assert first["source"] == first["shard"] == 0
    assert first["place"] == f"{first['name']}, sample {first['index']}"

    assert str(run / "checkpoints" / "last_good.ckpt") in told[0]
    for name, tensor in weights(run, "last_good").items():
        # How often the encoder was called is no weight that a step changes.
        assert name.endswith("calls") or torch.equal(tensor, weights(run, "previous")[name]), name
    # The end of the epoch falls into these steps; what was written by steps stays that of the last good one.
    assert read_checkpoint(run / "checkpoints" / "previous.ckpt")["global_step"] == 3
    for path in (run / "checkpoints").glob("*.ckpt"):
        assert all(torch.isfinite(value).all() for value in read_checkpoint(path)["state_dict"].values())


def test_optimisers_without_the_flag_skip_as_well(tmp_path):
    sgd = "{class_path: torch.optim.SGD, init_args: {lr: 0.1, momentum: 0.9}}"
    # From the first step, where the momentum does not exist yet.
    assert fit(tmp_path / "run", *poisoned(1, 2), "--model.optimizer", sgd) == 0
    assert skipped(tmp_path / "run")[-1] == 1
    assert all(torch.isfinite(value).all() for value in weights(tmp_path / "run", "last").values())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--guards.max_skipped_in_a_row", 0], ["guards.max_skipped_in_a_row 0", "1 at least"]),
        (["--guards.max_skiped_in_a_row", 3], ["guards.max_skiped_in_a_row", "did you mean 'max_skipped_in_a_row'"]),
    ],
)
def test_a_wrong_setting_is_one_message(tmp_path, arguments, words, capfd):
    assert fit(tmp_path / "run", *arguments) == 2
    told = capfd.readouterr().err
    assert all(word in told for word in words)
    assert "Traceback" not in told


@pytest.mark.slow
def test_two_processes_skip_together_and_end_together_with_one_message(tmp_path):
    def start(run, *arguments):
        command = [sys.executable, "-m", "clip_lightning", "fit", "--config", "tests/conf/drawing.yaml"]
        command += [
            "--run_dir",
            run,
            "--trainer.devices",
            2,
            "--trainer.strategy",
            "ddp",
            "--num_threads",
            1,
            *arguments,
        ]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            list(map(str, command)), cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300
        )

    some, many = tmp_path / "some", tmp_path / "many"
    done = start(some, *poisoned(6, 9, rank=1))
    assert done.returncode == 0, done.stderr
    assert skipped(some)[:6] == [0, 0, 1, 2, 3, 3]
    assert all(torch.isfinite(value).all() for value in weights(some, "last").values())

    done = start(many, *poisoned(7, 999, rank=1), "--guards.max_skipped_in_a_row", 4)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("were skipped") == 1
    assert "Traceback" not in done.stderr
    listed = json.loads((many / "skipped_samples.json").read_text())["steps"]
    assert [len(entry["samples"]) for entry in listed] == [16, 16, 8, 16], "of both processes"
