"""Which checkpoint is kept, and that a file is whole or not there."""

import math
from types import SimpleNamespace

import pytest
import torch

from clip_lightning.callbacks import Checkpoints


class FakeTrainer:
    """Saves its step, as a trainer does."""

    def __init__(self, folder):
        self.default_root_dir, self.is_global_zero, self.world_size = folder, True, 1
        self.callback_metrics, self.global_step, self.loggers, self.should_stop = {}, 0, [], False

    @property
    def current_epoch(self):
        return self.global_step - 1

    def save_checkpoint(self, path):
        path.parent.mkdir(exist_ok=True)
        torch.save({"step": self.global_step}, path)


def steps_in(folder):
    return {path.stem: torch.load(path, weights_only=True)["step"] for path in (folder / "checkpoints").iterdir()}


def kept(trainer, values, mode):
    callback = Checkpoints("val/x", mode)
    for value in values:
        trainer.global_step += 1
        trainer.callback_metrics["val/x"] = torch.tensor(value)
        callback.on_train_epoch_end(trainer, SimpleNamespace())
    return [steps_in(trainer.default_root_dir)[name] for name in ("best", "last")]


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
    trainer.global_step = 7
    two.on_train_epoch_end(trainer, SimpleNamespace())
    assert steps_in(tmp_path) == {"best": 0, "last": 7, "previous": 0}


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ({"every_n_epochs": 3}, {"last": 7, "previous": 6}),
        ({"every_n_epochs": 0}, {"last": 7}),
        ({"every_n_epochs": 2, "keep_every": 2}, {"last": 7, "previous": 6, "step-00000004": 4}),
        ({"every_n_epochs": 1, "keep_every": 3}, {"last": 7, "previous": 6, "step-00000003": 3, "step-00000006": 6}),
    ],
)
def test_intervals_decide_what_is_written_and_the_end_is_always(tmp_path, intervals, expected):
    trainer, callback = FakeTrainer(tmp_path), Checkpoints("val/x", **intervals)
    callback.best = 0.0  # the metric has been measured, and is not any more
    for _ in range(7):
        trainer.global_step += 1
        callback.on_train_epoch_end(trainer, SimpleNamespace())
    callback.on_train_end(trainer, SimpleNamespace())
    assert steps_in(tmp_path) == expected


def test_a_name_more_costs_no_space(tmp_path):
    trainer = FakeTrainer(tmp_path)
    kept(trainer, [0.5], "max")
    assert (tmp_path / "checkpoints" / "best.ckpt").samefile(tmp_path / "checkpoints" / "last.ckpt")


@pytest.mark.parametrize(
    "interval", [{"every_n_epochs": -1}, {"every_n_steps": 0}, {"every_n_minutes": 0.0}, {"keep_every": 0}]
)
def test_an_interval_that_makes_no_sense_is_refused_by_name(interval):
    with pytest.raises(ValueError, match=f"checkpoints.{next(iter(interval))}"):
        Checkpoints(**interval)


def test_a_metric_that_nothing_reports_is_refused_with_those_there_are(tmp_path):
    trainer = FakeTrainer(tmp_path)
    trainer.global_step = 3
    trainer.callback_metrics.update({"val/loss": torch.tensor(1.0), "train/loss": torch.tensor(1.0)})
    callback = Checkpoints("val/x")
    callback.on_train_epoch_end(trainer, SimpleNamespace())
    assert (tmp_path / "checkpoints" / "last.ckpt").exists(), "what was trained is not lost"
    with pytest.raises(ValueError, match=r"'val/x' is reported by nothing; there are \['val/loss'\]"):
        callback.on_train_end(trainer, SimpleNamespace())
