"""Which checkpoint a run goes on from, and what is refused."""

import shutil
from pathlib import Path

import pytest
import torch
from killing import differences, fit

from clip_lightning.__main__ import main
from clip_lightning.checkpoint import KEY, read_checkpoint
from clip_lightning.tracking.run_folder import RunFolder

TINY = str(Path(__file__).parents[1] / "conf" / "tiny.yaml")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was left alone."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert fit(run) == 0
    return run


@pytest.fixture
def half(tmp_path):
    """A run that was killed, with checkpoints of steps 2, 3 and 4."""
    assert fit(tmp_path / "half", kill=("forward", 10)) == -9
    return tmp_path / "half"


def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.unlink()  # other names may stand for the same file
    path.write_bytes(data)


def test_of_a_damaged_last_checkpoint_the_one_before_is_used_and_that_is_said(whole, half, capfd):
    damage(half / "checkpoints" / "last.ckpt")
    capfd.readouterr()
    assert fit(half) == 0
    captured = capfd.readouterr()
    assert "last.ckpt' is damaged" in captured.err
    assert f"going on from {half / 'checkpoints' / 'previous.ckpt'}" in captured.err
    assert f"continuing  {half / 'checkpoints' / 'previous.ckpt'}" in captured.out
    assert differences(whole, half) == []


def test_parts_that_the_kill_of_a_divided_run_has_left_are_in_nobodys_way(whole, half):
    left = half / "checkpoints" / ".last.ckpt.part"
    left.mkdir()
    (left / "part-1-of-2.ckpt").write_bytes(b"x")
    assert fit(half) == 0
    assert not left.exists()
    assert differences(whole, half) == []


def test_a_run_whose_checkpoints_are_all_damaged_is_not_begun_again_unasked(half, capfd):
    for name in ("last", "previous", "best"):
        damage(half / "checkpoints" / f"{name}.ckpt")
    capfd.readouterr()
    assert fit(half) == 2
    (message,) = capfd.readouterr().err.splitlines()
    assert "last.ckpt' is damaged" in message
    assert "previous.ckpt' is damaged" in message
    assert f"move {half / 'checkpoints'} away to begin again" in message


def test_a_checkpoint_of_the_first_format_is_gone_on_from(half, tmp_path, capfd):
    path = half / "checkpoints" / "last.ckpt"
    checkpoint = read_checkpoint(path)
    checkpoint[KEY]["format"] = 1
    for name in ("RandomStates", "EpochAverages", "RunEvaluators"):
        del checkpoint["callbacks"][name]
    for name in ("written", "step", "should_stop", "journal_end"):
        del checkpoint["callbacks"]["Checkpoints"][name]
    torch.save(checkpoint, path)
    assert fit(half) == 0
    assert "continuing" in capfd.readouterr().out


def test_a_configuration_that_contradicts_the_checkpoint_is_refused_though_the_folder_says_nothing(half, capfd):
    (half / "config.yaml").unlink()
    capfd.readouterr()
    assert fit(half, "--model.optimizer.lr", "0.5", "--data.batch_size", "4") == 2
    (message,) = capfd.readouterr().err.splitlines()
    assert "differs in data.batch_size (8, now 4), model.optimizer.init_args.lr (0.01, now 0.5);" in message
    assert fit(half, "--checkpoints.every_n_steps", "5", "--data.num_workers", "1") == 0, (
        "these do not enter the result"
    )


def test_a_folder_without_checkpoint_belongs_to_its_configuration_too(tmp_path, capfd):
    assert fit(tmp_path / "x", kill=("forward", 1)) == -9
    assert fit(tmp_path / "x", "--model.optimizer.lr", "0.5") == 2
    assert "differs in model.optimizer.init_args.lr" in capfd.readouterr().err


def test_weights_start_a_run_of_its_own(whole, tmp_path):
    weights = whole / "checkpoints" / "last.ckpt"
    arguments = ["--model.weights", weights, "--trainer.max_epochs", "1", "--model.optimizer.lr", "1e-30"]
    assert fit(tmp_path / "new", *arguments, "--model.optimizer.weight_decay", "0") == 0
    new, old = read_checkpoint(tmp_path / "new" / "checkpoints" / "last.ckpt"), read_checkpoint(weights)
    assert new["global_step"] == 6, "the steps begin anew"
    for name, tensor in old["state_dict"].items():
        torch.testing.assert_close(new["state_dict"][name], tensor, rtol=0, atol=1e-20)


def test_a_run_that_started_from_weights_goes_on_from_its_own(whole, tmp_path):
    weights = tmp_path / "weights.ckpt"
    shutil.copy(whole / "checkpoints" / "last.ckpt", weights)
    arguments = ["--model.weights", weights]
    assert fit(tmp_path / "alone", *arguments) == 0
    assert fit(tmp_path / "killed", *arguments, kill=("forward", 9)) == -9
    weights.unlink()
    assert fit(tmp_path / "killed", *arguments) == 0
    assert differences(tmp_path / "alone", tmp_path / "killed") == []


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.write_text("weights"), "weights.ckpt"),
        (lambda path: torch.save({"a": torch.zeros(1)}, path), "is in no known layout"),
    ],
)
def test_weights_that_cannot_be_used_are_refused_and_leave_no_folder(tmp_path, capsys, make, words):
    make(tmp_path / "weights.ckpt")
    arguments = ["--config", TINY, "--run_dir", str(tmp_path / "x"), "--model.weights", str(tmp_path / "weights.ckpt")]
    assert main(["fit", *arguments]) == 2
    (message,) = capsys.readouterr().err.splitlines()
    assert words in message
    assert not (tmp_path / "x").exists()


def test_weights_of_another_architecture_are_refused_by_name(whole, tmp_path, capsys):
    weights = str(whole / "checkpoints" / "last.ckpt")
    assert main(["fit", "--config", TINY, "--run_dir", str(tmp_path / "x"), "--model.weights", weights]) == 2
    (message,) = capsys.readouterr().err.splitlines()
    assert "is of another model" in message
    assert "missing model.image_encoder" in message


def test_a_full_disk_ends_the_run_with_a_message_and_the_earlier_checkpoint_is_gone_on_from(whole, half, capfd):
    before = read_checkpoint(half / "checkpoints" / "last.ckpt")["global_step"]
    capfd.readouterr()
    assert fit(half, file_limit=450_000) == 2
    error = capfd.readouterr().err
    assert "Traceback" not in error
    assert "cannot be written: File too large; what was saved before is intact" in error.splitlines()[-1]
    assert read_checkpoint(half / "checkpoints" / "last.ckpt")["global_step"] == before
    assert fit(half) == 0
    assert differences(whole, half) == []


def test_two_trainings_at_once_in_one_folder_are_refused(tmp_path, capfd):
    with RunFolder.open(tmp_path / "x").claimed():
        assert fit(tmp_path / "x") == 2
    (message,) = capfd.readouterr().err.splitlines()
    assert "another process is training in" in message
    assert "--run_dir" in message


@pytest.mark.parametrize(("run_dir", "words"), [("", "--run_dir is empty"), ("3", None)])
def test_a_folder_with_an_odd_name(tmp_path, monkeypatch, capsys, run_dir, words):
    monkeypatch.chdir(tmp_path)
    code = main(["fit", "--config", TINY, "--run_dir", run_dir, "--trainer.max_epochs", "1"])
    assert code == (2 if words else 0)
    assert words is None or words in capsys.readouterr().err
    assert (tmp_path / "3").exists() is (run_dir == "3")


def test_a_checkpoint_that_lacks_what_a_training_needs_is_as_good_as_damaged(whole, half, capfd):
    path = half / "checkpoints" / "last.ckpt"
    checkpoint = read_checkpoint(path)
    checkpoint["loops"] = {}
    path.unlink()
    torch.save(checkpoint, path)
    assert fit(half) == 0
    assert "lacks the state of its optimiser, loops or callbacks; going on from" in capfd.readouterr().err
    assert differences(whole, half) == []
