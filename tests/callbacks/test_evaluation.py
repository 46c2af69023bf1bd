"""When evaluators run, and under which names."""

import pytest

from clip_lightning.callbacks import RunEvaluators
from clip_lightning.data import ShapeScenesLabels
from clip_lightning.evaluation import ZeroShot


@pytest.mark.parametrize("options", [{"every_n_epochs": -1}, {"every_n_steps": 0}])
def test_intervals_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match="must be positive"):
        RunEvaluators(**options)


def test_two_evaluators_under_one_name_are_refused():
    twice = [ZeroShot(ShapeScenesLabels(size=4)), ZeroShot(ShapeScenesLabels(size=8))]
    with pytest.raises(ValueError, match="two evaluators report 'zero_shot/shape_scenes'"):
        RunEvaluators(val=twice)
    RunEvaluators(val=[twice[0], ZeroShot(ShapeScenesLabels(size=8), name="small")], test=twice[:1])


def test_every_second_epoch_only():
    runs = []
    callback = RunEvaluators(val=[ZeroShot(ShapeScenesLabels(size=4))], every_n_epochs=2)
    callback._run = lambda stage, trainer, task: runs.append((stage, trainer.current_epoch))
    for epoch in range(5):
        trainer = type("Trainer", (), {"current_epoch": epoch, "global_step": epoch + 1})()
        callback.on_train_epoch_end(trainer, None)
    assert runs == [("val", 1), ("val", 3)]
