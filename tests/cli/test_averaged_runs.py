"""Runs with averaged weights: what they report, what their checkpoints are used as, and that they go on exactly."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from killing import curves, differences
from killing import fit as fork
from test_training import TINY, fit, rows

import clip_lightning
from clip_lightning.__main__ import main
from clip_lightning.averages import BESIDE, kind_of, with_weights
from clip_lightning.checkpoint import read_checkpoint
from clip_lightning.tracking import journal

REPOSITORY = Path(__file__).parents[2]
ACCURACY = "zero_shot/shape_scenes/accuracy"
AVERAGED = ["--averaging.decay", "0.8", "--checkpoints.monitor", f"val_ema/{ACCURACY}"]
FASTER = ["--model.optimizer", "{class_path: torch.optim.AdamW, init_args: {lr: 1.0e-2}}"]
RAW = ["--averaging.decay", "0.8"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run whose best checkpoint was chosen by its averaged weights."""
    folder = tmp_path_factory.mktemp("run") / "run"
    assert fit(folder, *FASTER, *AVERAGED) == 0
    return folder


def best_of(run):
    return run / "checkpoints" / "best.ckpt"


def at_step(run, name, step):
    series = journal.metrics(run / "journal.jsonl")[name]
    return dict(zip(series.step, series.value, strict=True))[step]


def test_what_is_reported_is_of_the_weights_that_the_best_checkpoint_was_chosen_by(run):
    step = read_checkpoint(best_of(run))["global_step"]
    found = rows(run)
    assert {name.partition("/")[0] for name in found} == {"val_ema", "test_ema"}
    history = journal.metrics(run / "journal.jsonl")
    assert found[f"val_ema/{ACCURACY}"].value == at_step(run, f"val_ema/{ACCURACY}", step)
    assert found[f"val_ema/{ACCURACY}"].value == max(history[f"val_ema/{ACCURACY}"].value)
    assert history["val_ema/loss"].step == history["val/loss"].step
    assert history["val_ema/loss"].value != history["val/loss"].value


def test_the_other_weights_give_what_was_measured_of_them(run, capsys):
    step = read_checkpoint(best_of(run))["global_step"]
    for kind, stage in (("raw", "val"), ("averaged", "val_ema")):
        assert main(["validate", "--run_dir", str(run), "--weights", kind]) == 0
        told = capsys.readouterr().out
        assert f"{stage}/loss  {at_step(run, f'{stage}/loss', step - 1):.4f}" in told
        line = next(line for line in told.splitlines() if line.startswith(f"{stage}/{ACCURACY}"))
        assert float(line.split()[1]) == pytest.approx(100 * at_step(run, f"{stage}/{ACCURACY}", step), abs=0.05)


def test_a_checkpoint_is_loaded_and_exported_as_it_was_chosen_or_as_asked(run, tmp_path, capsys):
    checkpoint = read_checkpoint(best_of(run))
    assert kind_of(checkpoint) == "averaged"
    name = "model.text_projection.weight"
    assert not torch.equal(checkpoint["state_dict"][name], checkpoint[BESIDE][name])
    for kind, asked in (("averaged", []), ("raw", ["--weights", "raw"])):
        wanted = with_weights(checkpoint, kind, "")["state_dict"]
        loaded = clip_lightning.load(best_of(run), weights=asked[-1] if asked else None)
        assert loaded.card["weights"] == kind
        assert torch.equal(loaded.model.text_projection.weight, wanted[name])
        folder = tmp_path / kind
        export = ["export", "--checkpoint", str(best_of(run)), "--to", "safetensors", "--output", str(folder), *asked]
        assert main(export) == 0
        exported = clip_lightning.load(folder)
        assert torch.equal(exported.model.text_projection.weight, wanted[name])
        assert exported.card["weights"] == kind
        note = "The figures are of the run's averaged weights, and these are its raw ones."
        assert (note in (folder / "README.md").read_text()) is (kind == "raw")
    assert main([*export[:-2], "--weights", "ema"]) == 2
    assert "'ema'" in capsys.readouterr().err


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    """The same run without averages."""
    folder = tmp_path_factory.mktemp("without") / "run"
    assert fit(folder, *FASTER) == 0
    return folder


def test_averaging_changes_nothing_of_the_training_and_a_run_without_it_has_nothing_of_it(run, without):
    averaged, alone = (read_checkpoint(folder / "checkpoints" / "last.ckpt") for folder in (run, without))
    assert BESIDE not in alone
    assert "weights" not in alone["clip_lightning"]
    assert "WeightAverages" not in alone["callbacks"]
    for name, tensor in with_weights(averaged, "raw", "")["state_dict"].items():
        assert torch.equal(tensor, alone["state_dict"][name])
    assert [point for point in curves(run) if "_ema/" not in point[0]] == curves(without)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--averaging.decay", "1.5"], ["averaging.decay 1.5 is not between 0 and 1", "0.999"]),
        (["--averaging.decai", "0.9"], ["averaging.decai is not known", "'decay'"]),
        (AVERAGED[2:], [f"'val_ema/{ACCURACY}' is of averaged weights", "--averaging.decay 0.999"]),
        ([*AVERAGED[:3], "val_ema/accuracy"], ["'val_ema/accuracy' is reported by nothing", f"val/{ACCURACY}"]),
    ],
)
def test_a_setting_that_makes_no_sense_is_one_message(tmp_path, capsys, arguments, words):
    assert fit(tmp_path / "x", *arguments) == 2
    error = capsys.readouterr().err
    assert all(word in error for word in words), error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "x").exists()


def test_averaging_is_not_turned_on_or_off_where_a_run_goes_on(run, capsys):
    assert fit(run, *FASTER, "--checkpoints.monitor", f"val/{ACCURACY}", "--trainer.max_epochs", "3") == 2
    error = capsys.readouterr().err
    assert "averaging.decay (0.8, now None)" in error
    assert "to start from its weights, give --model.weights" in error


def test_a_run_of_before_there_was_averaging_goes_on_but_not_with_it(without, tmp_path, capsys):
    folder = tmp_path / "x" / "checkpoints"
    folder.mkdir(parents=True)
    checkpoint = torch.load(without / "checkpoints" / "last.ckpt", weights_only=True)
    del checkpoint["clip_lightning"]["config"]["averaging"]
    for name in ("last", "best"):
        torch.save(checkpoint, folder / f"{name}.ckpt")
    assert fit(tmp_path / "x", *FASTER, *RAW) == 2
    assert "averaging (None, now {'decay': 0.8})" in capsys.readouterr().err
    assert fit(tmp_path / "x", *FASTER) == 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was left alone."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert fork(folder, *AVERAGED) == 0
    return folder


def check_kill(whole, run, kill, *arguments):
    assert fork(run, *arguments, kill=kill) == -9, "this place is not met so often"
    assert fork(run, *arguments) == 0
    assert differences(whole, run) == []
    assert BESIDE in read_checkpoint(run / "checkpoints" / "last.ckpt")


def test_a_killed_run_goes_on_exactly(whole, tmp_path):
    check_kill(whole, tmp_path / "run", ("update", 9), *AVERAGED)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kill", [("forward", 9), ("validation", 6), ("evaluation", 4), ("evaluation", 5), ("saved", 3)], ids=str
)
def test_wherever_it_is_killed_a_run_goes_on_exactly(whole, tmp_path, kill):
    check_kill(whole, tmp_path / "run", kill, *AVERAGED)


@pytest.mark.slow
@pytest.mark.parametrize("monitor", ["val/loss", "val_ema/loss"])
def test_weights_that_are_measured_between_two_accumulated_batches_are_the_best_of_their_kind(
    tmp_path, capsys, monitor
):
    arguments = ["--averaging.decay", 0.8, "--checkpoints.monitor", monitor, "--checkpoints.mode", "min"]
    arguments += ["--trainer.val_check_interval", 3, "--checkpoints.every_n_steps", "null"]
    arguments += ["--checkpoints.keep_every", "null"]
    assert fork(tmp_path / "whole", *arguments) == 0
    check_kill(tmp_path / "whole", tmp_path / "run", ("update", 3), *arguments)
    assert kind_of(read_checkpoint(best_of(tmp_path / "whole"))) == ("averaged" if "_ema" in monitor else "raw")
    capsys.readouterr()
    assert main(["validate", "--run_dir", str(tmp_path / "whole"), "--allow_module", "drawing_encoder"]) == 0
    best = min(float(value) for name, _, value in curves(tmp_path / "whole") if name == monitor)
    assert f"{monitor}  {best:.4f}" in capsys.readouterr().out


RESNET = (
    "{class_path: ModifiedResNet, init_args: {image_size: 32, blocks: [1, 1], width: 8, output_dim: 16, num_heads: 2}}"
)


@pytest.mark.slow
def test_two_processes_that_are_killed_go_on_exactly_statistics_of_batches_included(tmp_path):
    command = [sys.executable, "-m", "clip_lightning", "fit", "--config", TINY, *AVERAGED, "--trainer.devices", "2"]
    command += ["--trainer.strategy", "ddp", "--checkpoints.every_n_steps", "4", "--trainer.max_epochs", "4"]
    command += ["--model.image_encoder", RESNET, "--model.image_projection", "false", "--run_dir"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(folder):
        return subprocess.Popen([*command, str(folder)], cwd=REPOSITORY, env=environment, start_new_session=True)

    assert start(tmp_path / "whole").wait(300) == 0
    process, path = start(tmp_path / "run"), tmp_path / "run" / "journal.jsonl"
    deadline = time.monotonic() + 240
    while not (path.exists() and any(step >= 10 for step in _steps(path))):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert start(tmp_path / "run").wait(300) == 0
    assert differences(tmp_path / "whole", tmp_path / "run") == []


def _steps(path):
    return journal.metrics(path)["train/loss"].step if b"train/loss" in path.read_bytes() else []
