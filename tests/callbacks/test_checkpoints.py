"""Which checkpoint is kept, and that a file is whole or not there."""

import math
from types import SimpleNamespace

import pytest
import torch

from clip_lightning.callbacks import Checkpoints
from clip_lightning.callbacks.checkpoints import save_atomically


class FakeTrainer:
    """Saves its step, as a trainer does, or fails in the middle."""

    def __init__(self, folder):
        self.default_root_dir, self.is_global_zero = folder, True
        self.callback_metrics, self.step, self.fails = {}, 0, False

    def save_checkpoint(self, path):
        if self.fails:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        torch.save({"step": self.step}, path)


def kept(trainer, values, mode):
    callback = Checkpoints("val/x", mode)
    for value in values:
        trainer.step += 1
        trainer.callback_metrics["val/x"] = torch.tensor(value)
        callback.on_train_epoch_end(trainer, SimpleNamespace())
    folder = trainer.default_root_dir / "checkpoints"
    return [torch.load(folder / f"{name}.ckpt", weights_only=True)["step"] for name in ("best", "last")]


@pytest.mark.parametrize(
    ("values", "mode", "best"),
    [
        ([0.1, 0.3, 0.2], "max", 2),
        ([0.1, 0.3, 0.2], "min", 1),
        ([0.2, 0.2], "max", 1),
        ([math.nan, 0.1, math.nan], "max", 2),
        ([math.nan, 0.1, 0.05], "min", 3),
    ],
)
def test_best_and_last_are_kept(tmp_path, values, mode, best):
    assert kept(FakeTrainer(tmp_path), values, mode) == [best, len(values)]


def test_the_best_value_is_remembered_by_a_continued_run(tmp_path):
    one, two = Checkpoints("val/x", "max"), Checkpoints("val/x", "max")
    trainer = FakeTrainer(tmp_path)
    trainer.callback_metrics["val/x"] = torch.tensor(0.5)
    one.on_train_epoch_end(trainer, SimpleNamespace())
    two.load_state_dict(one.state_dict())
    trainer.callback_metrics["val/x"] = torch.tensor(0.4)
    trainer.step = 7
    two.on_train_epoch_end(trainer, SimpleNamespace())
    assert torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)["step"] == 0
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["step"] == 7


def test_a_failed_write_leaves_the_earlier_checkpoint(tmp_path):
    trainer = FakeTrainer(tmp_path)
    save_atomically(trainer, tmp_path / "last.ckpt")
    trainer.step, trainer.fails = 1, True
    with pytest.raises(OSError, match="No space"):
        save_atomically(trainer, tmp_path / "last.ckpt")
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["step"] == 0


def test_a_metric_that_nothing_reports_is_refused_with_those_there_are(tmp_path):
    trainer = FakeTrainer(tmp_path)
    trainer.global_step = 3
    trainer.callback_metrics.update({"val/loss": torch.tensor(1.0), "train/loss": torch.tensor(1.0)})
    callback = Checkpoints("val/x")
    callback.on_train_epoch_end(trainer, SimpleNamespace())
    assert (tmp_path / "checkpoints" / "last.ckpt").exists(), "what was trained is not lost"
    with pytest.raises(ValueError, match=r"'val/x' is reported by nothing; there are \['val/loss'\]"):
        callback.on_train_end(trainer, SimpleNamespace())
