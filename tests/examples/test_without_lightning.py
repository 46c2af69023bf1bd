"""The example of a loop of one's own."""

import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from examples import without_lightning
from examples.without_lightning import main


def test_a_few_steps_run_without_lightning(monkeypatch, capsys):
    code = (
        "import sys; from examples import without_lightning as example; from clip_lightning.data import ShapeScenes; "
        "from examples.mixer import Mixer; "
        "example.train(ShapeScenes('train', size=64), Mixer(image_size=32, patch_size=8, width=16, depth=1), steps=2); "
        "print([name for name in ('lightning', 'mlflow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def printed_accuracies(output):
    return [float(percent) / 100 for percent in re.findall(r"([0-9.]+)% right", output)]


def test_a_folder_of_photographs_is_learned_with_an_encoder_of_ones_own(tmp_path, monkeypatch, capsys):
    generator = np.random.default_rng(0)
    for number in range(120):
        name, colour = (("sky", (40, 90, 220)), ("grass", (50, 200, 60)))[number % 2]
        path = tmp_path / name / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        pixels = np.clip(np.array(colour) + generator.normal(0, 20, (70, 80, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path)
    few = without_lightning.train
    monkeypatch.setattr(without_lightning, "train", lambda pairs, encoder: few(pairs, encoder, steps=30))
    main([str(tmp_path)])
    [accuracy] = printed_accuracies(capsys.readouterr().out)
    assert accuracy > 0.9, "chance is 1 / 2"


@pytest.mark.slow
def test_it_learns(capsys):
    main([])
    seen, heldout = printed_accuracies(capsys.readouterr().out)
    assert min(seen, heldout) > 8 / 64, "chance is 1 / 64"
