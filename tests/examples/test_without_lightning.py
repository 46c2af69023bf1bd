"""The example of a loop of one's own."""

import subprocess
import sys

import pytest

from clip_lightning.data import ShapeScenesLabels
from examples.without_lightning import accuracy, train


def test_a_few_steps_run_without_lightning():
    code = (
        "import sys; from examples.without_lightning import train; train(2); "
        "print([name for name in ('lightning', 'mlflow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_it_learns():
    model, tokenizer, losses = train()
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    for split in ("test", "heldout"):
        assert accuracy(model, tokenizer, ShapeScenesLabels(split)) > 8 / 64, "chance is 1 / 64"
