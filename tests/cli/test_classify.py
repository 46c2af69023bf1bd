"""``classify``: a table, a file and a sheet of what images show."""

import csv
import json
from pathlib import Path

import pytest
from PIL import Image
from trained_model import write_images, write_model, write_weights_alone

from clip_lightning.__main__ import main
from clip_lightning.cli import classify
from clip_lightning.cli.classify import read_classes
from clip_lightning.reports import photos


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint and images."""
    made = tmp_path_factory.mktemp("made")
    write_model(made / "model.ckpt")
    write_images(made / "images")
    return made


def run(folder, *arguments, classes="red circle,star | blue star,ring", images=None):
    images = images or [str(folder / "images")]
    command = ["classify", "--checkpoint", str(folder / "model.ckpt"), "--images", *images, "--classes", classes]
    return main([*command, "--num_workers", "0", *arguments])


def test_the_table_the_files_and_the_sheet_say_the_same(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    drawn = []
    original = photos.photo_sheet
    monkeypatch.setattr(photos, "photo_sheet", lambda given, *rest: drawn.extend(given) or original(given, *rest))
    for name in ("out.csv", "out.json"):
        drawn.clear()
        assert run(folder, "--output", str(tmp_path / name), "--sheet", str(tmp_path / "sheet.png")) == 0
    printed = capsys.readouterr()
    table = printed.out[: len(printed.out) // 2].strip().splitlines()
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["classes"] == ["red circle", "star", "ring"]
    assert content["templates"] == ["a photo of a {}."]
    images = content["images"]
    assert [image["path"] for image in images] == sorted(image["path"] for image in images)
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    readable = [image for image in images if "unreadable" not in image]
    assert len(rows) == len(images) == 13
    assert len(readable) == len(drawn) == 11
    for row, image in zip(rows, images, strict=True):
        assert row["path"] == image["path"]
        assert row["unreadable"] == image.get("unreadable", "")
        assert row["class"] == image.get("class", "")
        for name, probability in image.get("probabilities", {}).items():
            assert float(row[f"p({name})"]) == probability
    for line, image, photo in zip(table, readable, drawn, strict=False):
        ranked = sorted(image["probabilities"].items(), key=lambda item: -item[1])
        assert sum(image["probabilities"].values()) == pytest.approx(1)
        assert (image["class"], image["probability"]) == ranked[0]
        assert line.split("  ", 1)[0] == image["path"]
        assert [cell.strip() for cell in line.split("  ")[1:] if cell.strip()] == [
            f"{name} {100 * probability:.1f} %" for name, probability in ranked
        ]
        assert [(text, share) for text, _, share in photo.lines] == ranked
    assert "11 images classified, 2 unreadable" in table
    assert printed.err.count("unreadable: ") == 4
    assert f"{folder}/images/05-torn.jpg: image data cannot be decoded" in printed.err
    assert "left out: 1 file that is no image by the extension (notes.txt)" in printed.err
    assert Image.open(tmp_path / "sheet.png").width == 1500


def test_as_many_classes_are_printed_as_fit(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    run(folder)
    lines = capsys.readouterr().out.splitlines()[:11]
    assert all(len(line) <= 60 and line.startswith("…") and line.count("%") == 2 for line in lines), lines


def test_templates_come_from_a_file_and_change_the_probabilities(folder, tmp_path):
    (tmp_path / "t.txt").write_text("# ours\nred {}\nthe {}\n")
    found = []
    for arguments in ([], ["--templates", str(tmp_path / "t.txt")]):
        run(folder, *arguments, "--output", str(tmp_path / "x.json"))
        found.append(json.loads((tmp_path / "x.json").read_text()))
    assert found[1]["templates"] == ["red {}", "the {}"]
    assert found[0]["images"] != found[1]["images"]


def test_prompts_that_are_cut_are_told_of_once_and_classes_that_the_cut_makes_equal_are_refused(
    folder, tmp_path, capsys
):
    """The model's context is 24 tokens."""
    (tmp_path / "late.txt").write_text("{}\n{} " + "shape " * 80 + "\n")
    assert run(folder, "--templates", str(tmp_path / "late.txt")) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("too long: ")]
    assert told == ["too long: 4 prompts lose what is beyond 24 tokens, which the model does not see"]
    assert run(folder, "--templates", str(tmp_path / "late.txt"), classes="red,blue") == 0
    assert "too long: 2 prompts lose" in capsys.readouterr().err
    assert run(folder) == 0
    assert "too long" not in capsys.readouterr().err
    (tmp_path / "early.txt").write_text("shape " * 80 + "{}\n")
    assert run(folder, "--templates", str(tmp_path / "early.txt")) == 2
    message = capsys.readouterr().err.strip()
    assert "\n" not in message
    assert "classes 'red circle' and 'star' have prompts of the same tokens" in message
    assert "what is beyond 24 tokens is cut, so shorten the templates" in message


def test_classes_that_are_the_same_tokens_are_refused(folder, capsys):
    assert run(folder, classes="star,  STAR") == 2
    assert "'star' and 'STAR' have prompts of the same tokens" in capsys.readouterr().err


def test_the_activation_of_weights_that_do_not_say_it_is_given(folder, tmp_path, capsys):
    write_weights_alone(tmp_path / "weights.pt")
    arguments = ["--checkpoint", str(tmp_path / "weights.pt"), "--output", str(tmp_path / "x.json")]
    assert run(folder, *arguments) == 2
    assert "does not say which activation" in capsys.readouterr().err
    found = []
    for activation in ("true", "false"):
        assert run(folder, *arguments, "--quick_gelu", activation) == 0
        found.append(json.loads((tmp_path / "x.json").read_text())["images"])
    assert found[0] != found[1]


def test_classes_are_typed_or_read_with_further_names(tmp_path):
    (tmp_path / "classes").write_text("cat | kitten\n# no class\ndog, wet\n")
    names = [one.names for one in read_classes(str(tmp_path / "classes"))]
    assert names == [["cat", "kitten"], ["dog, wet"]]
    assert [one.names for one in read_classes(" cat | kitten , dog")] == [["cat", "kitten"], ["dog"]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--classses", "a,b"], ["--classses", "did you mean --classes?"]),
        (["--frobnicate"], ["--frobnicate", "there are:", "--sheet"]),
        (["--classes", "a,b,a"], ["'a' occurs 2 times"]),
        (["--classes", "a,,b"], ["''"]),
        (["--classes", "apple"], ["'apple'", "two at least"]),
        (["--classes", "no/such/file"], ["no/such/file", "No such file"]),
        (["--output", "x.txt"], ["'x.txt'", ".csv or .json"]),
        (["--sheet", "/nowhere/x.png"], ["/nowhere", "does not exist"]),
        (["--output", "FOLDER.csv"], ["FOLDER.csv", "is a folder; name a file"]),
        (["--batch_size", "0"], ["batch_size 0"]),
        (["--num_workers", "-1"], ["--num_workers -1"]),
        (["--device", "abacus"], ["'abacus'", "give cpu"]),
        (["--images", "nowhere"], ["no file or folder 'nowhere'"]),
        (["--checkpoint", "nowhere"], ["nowhere"]),
        (["--templates", "nowhere"], ["cannot read nowhere"]),
        (["--sheet"], ["--sheet", "expected one argument"]),
    ],
)
def test_a_mistake_gets_one_message(arguments, words, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("FOLDER.csv").mkdir()
    assert run(folder, *arguments) == 2
    message = capsys.readouterr().err.strip().splitlines()
    assert len(message) == 1
    assert message[0].startswith("clip_lightning classify: ")
    assert all(word in message[0] for word in words), message


def test_help_is_there(capsys):
    with pytest.raises(SystemExit) as done:
        classify.main(["--help"])
    assert done.value.code == 0
    assert "--templates" in capsys.readouterr().out
