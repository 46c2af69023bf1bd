"""When evaluators run, and under which names."""

import pytest

from clip_lightning.__main__ import main
from clip_lightning.callbacks import RunEvaluators
from clip_lightning.data import ShapeScenesLabels
from clip_lightning.evaluation import ZeroShot


@pytest.mark.parametrize("options", [{"every_n_epochs": -1}, {"every_n_steps": 0}])
def test_intervals_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match="must be positive"):
        RunEvaluators(**options)


def test_two_evaluators_under_one_name_are_refused(tmp_path, capsys):
    twice = "[{class_path: ZeroShot, init_args: {dataset: {class_path: ShapeScenesLabels, init_args: {size: 8}}}}]"
    doubled = f"{twice[:-1]}, {twice[1:]}"
    arguments = ["fit", "--config", "tests/conf/tiny.yaml", "--run_dir", str(tmp_path / "x")]
    assert main([*arguments, "--evaluation.val", doubled]) == 2
    assert "give one of them another name" in capsys.readouterr().err


def test_every_second_epoch_only():
    runs = []
    callback = RunEvaluators(val=[ZeroShot(ShapeScenesLabels(size=4))], every_n_epochs=2)
    callback._run = lambda stage, trainer, task: runs.append((stage, trainer.current_epoch))
    for epoch in range(5):
        trainer = type("Trainer", (), {"current_epoch": epoch})()
        callback.on_train_epoch_end(trainer, None)
    assert runs == [("val", 1), ("val", 3)]
