"""What is told of a training that fails, provoked by real runs that do; and that one that does not is left alone."""

import pytest
from killing import fit

BATCHES = [
    "--trainer.accumulate_grad_batches",
    1,
    "--evaluation.every_n_steps",
    "null",
    "--trainer.val_check_interval",
    1.0,
]
EPOCHS = 4  # of 11 steps


def encoder(name):
    return ["--model.image_encoder", f"{{class_path: failing_encoders.{name}}}"]


def optimizer(lr):
    return ["--model.optimizer", f"{{class_path: torch.optim.AdamW, init_args: {{lr: {lr}, weight_decay: 0.0}}}}"]


def objective(temperature):
    return ["--model.objective", f"{{class_path: Contrastive, init_args: {{temperature: {temperature}}}}}"]


def told(capfd):
    return [line for line in capfd.readouterr().err.splitlines() if line.startswith("warning")]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (encoder("ConstantEncoder"), {"the image embeddings": "collapsed", "the loss": "nothing is learned"}),
        (encoder("DetachedEncoder"), {"the image tower": "no gradient for 11 steps"}),
        ([*objective(0.0103), *optimizer(6e-2)], {"the temperature's factor": "fallen"}),
    ],
    ids=["collapsed", "without gradient", "falling"],
)
def test_each_failure_is_told_of_once_with_what_to_change(tmp_path, arguments, expected, capfd):
    assert fit(tmp_path / "run", *BATCHES, "--trainer.max_epochs", EPOCHS, *arguments) == 0
    lines = told(capfd)
    for name, words in expected.items():
        about = [line for line in lines if line.startswith(f"warning     {name} ")]
        assert len(about) == 1, lines
        assert words in about[0]
        assert "model." in about[0], "a key to change"
