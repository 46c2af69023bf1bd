"""``data show``: a sheet of what the model will really see."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clip_lightning.__main__ import main
from clip_lightning.cli import data
from clip_lightning.cli.data import seen_text
from clip_lightning.data import PairLoader
from clip_lightning.reports import sheet as sheets
from clip_lightning.text import BPETokenizer, Tokenizer

TINY = "tests/conf/tiny.yaml"
AUGMENTED = ["--data.augmentations", "[{class_path: RandomHorizontalFlip}, {class_path: RandomInvert}]"]


def show(folder, *arguments):
    return main(["data", "show", "--config", TINY, "--output", str(folder / "sheet.png"), *arguments])


@pytest.fixture
def drawn(monkeypatch):
    """The samples that reach the sheet."""
    taken = []
    monkeypatch.setattr(sheets, "sheet", lambda samples, *rest: taken.extend(samples) or SHEET(samples, *rest))
    return taken


SHEET = sheets.sheet


def test_it_shows_what_training_will_take_first(tmp_path, drawn, capsys, monkeypatch):
    arguments = [*AUGMENTED, "--data.crop_scale", "[0.5, 1.0]"]
    assert show(tmp_path, *arguments, "--samples", "20", "--data.num_workers", "2") == 0
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == str(tmp_path / "sheet.png")
    assert out[0] == "source      shape_scenes: 96 samples in 1 block"
    assert sum(line.startswith("augmented ") for line in out) == 2
    assert Image.open(tmp_path / "sheet.png").width == 1500
    assert len(drawn) == 20

    trained = []
    original = PairLoader.__iter__

    def noted(self):
        for batch in original(self):
            trained.append(batch)
            yield batch

    monkeypatch.setattr(PairLoader, "__iter__", noted)
    run = ["fit", "--config", TINY, "--run_dir", str(tmp_path / "run"), "--trainer.max_steps", "2", *arguments]
    assert main(run) == 0
    images = torch.cat([batch.image for batch in trained])[:20].permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(np.stack([sample.image for sample in drawn]), images)
    assert all(sample.caption for sample in drawn)


def test_cut_captions_are_marked(tmp_path, drawn, capsys):
    assert show(tmp_path, "--model.tokenizer.context_length", "12", "--samples", "16") == 0
    assert {sample.is_cut for sample in drawn} == {True, False}
    cut = sum(sample.is_cut for sample in drawn)
    assert f"of 12 tokens, BPETokenizer; {cut} of the 16 captions shown are cut" in capsys.readouterr().out


def test_a_caption_that_just_fits_is_not_cut():
    tokenizer = BPETokenizer(258, 8, merges=[])
    for text, expected in [("abcde", ("abcde", False)), ("abcdef", ("abcde", True)), ("ab", ("ab", False))]:
        row = tokenizer([text])[0].tolist()
        assert seen_text(tokenizer, row[: row.index(tokenizer.eos_id) + 1], text) == expected


def test_a_tokeniser_that_cannot_tell_shows_the_stored_caption():
    class Mute(Tokenizer):
        context_length, vocab_size, pad_id, eos_id = 4, 9, 0, 8

        def __call__(self, texts):
            return torch.tensor([[7, 1, 8, 0] if text == "short" else [7, 1, 2, 8] for text in texts])

    assert seen_text(Mute(), [7, 1, 8], "short") == ("short", False)
    assert seen_text(Mute(), [7, 1, 2, 8], "longer") == ("longer", True)


def test_it_makes_nothing_but_the_picture(tmp_path, monkeypatch):
    config = str(Path(TINY).resolve())
    monkeypatch.chdir(tmp_path)
    assert main(["data", "show", "--config", config, "--samples", "1"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["tiny-data.png"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--samples", "0"], ["--samples 0"]),
        (["--output", "sheet.jpg"], ["sheet.jpg", ".png"]),
        (["--output", "nowhere/sheet.png"], ["'nowhere' does not exist"]),
        (["--data.batch_sise", "3"], ["data.batch_sise", "did you mean 'batch_size'"]),
        (["--dta.batch_size", "3"], ["--dta", "--data"]),
        (["--data.batch_size", "97"], ["97", "96", "lower batch_size"]),
        (["--data.augmentations", "[{class_path: RandomHorizontalFlipp}]"], ["did you mean 'RandomHorizontalFlip'"]),
        (["--data.augmentations", "[{class_path: RandomInvert, init_args: {q: 1}}]"], ["'q'", "there are: p"]),
        (["--data.augmentations", "[{class_path: RandomInvert, init_args: {p: 7}}]"], ["[0.0, 1.0]"]),
        (["--data.augmentations", "[{class_path: Resize, init_args: {size: 9}}]"], ["Resize", "[3, 9, 9]"]),
    ],
)
def test_a_mistake_gets_one_message(arguments, words, tmp_path, capsys):
    assert show(tmp_path, *arguments) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("clip_lightning data: ")
    assert all(word in message for word in words), message
    assert list(tmp_path.iterdir()) == []


def test_help_is_there(capsys):
    with pytest.raises(SystemExit) as done:
        data.main(["show", "--help"])
    assert done.value.code == 0
    assert "--samples" in capsys.readouterr().out
