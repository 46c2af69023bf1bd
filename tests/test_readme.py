"""What the README names exists, and its commands run."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from PIL import Image

import clip_lightning
from clip_lightning.__main__ import VERBS, main
from clip_lightning.results import read_results

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()
TIME = "runs/quickstart/TIME"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_linked_files_exist():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert len(links) >= 5
    assert all((REPOSITORY / link).exists() for link in links)


def test_named_make_targets_and_verbs_exist():
    makefile = (REPOSITORY / "Makefile").read_text()
    for target in re.findall(r"^make (\S+)", "\n".join(blocks("sh")), re.MULTILINE):
        assert f"\n{target}:" in makefile
    for verb in re.findall(r"-m clip_lightning (\w+)", README):
        assert verb in VERBS


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    """The quickstart's command, cut short."""
    folder = tmp_path_factory.mktemp("readme")
    arguments = ["fit", "--config", str(REPOSITORY / "configs" / "quickstart.yaml"), "--run_dir", str(folder / "run")]
    arguments += ["--trainer.logger", "false", "--trainer.max_epochs", "1", "--data.samples_per_epoch", "256"]
    assert main([*arguments, "--model.tokenizer.corpus.size", "64", "--data.train.size", "256"]) == 0
    return folder / "run"


def test_the_commands_run(small_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(REPOSITORY))
    Path("photos").mkdir()
    for number in range(3):
        Image.new("RGB", (70, 66), (80 * number, 90, 0)).save(f"photos/{number}.png")
    commands = [line for block in blocks("sh") for line in block.splitlines() if "-m clip_lightning" in line]
    assert len(commands) >= 2
    for number, command in enumerate(commands):
        command = command.replace(TIME, str(small_run)).replace("configs/", f"{REPOSITORY}/configs/")
        arguments = shlex.split(command, comments=True)[3:]
        if arguments[0] in ("ablate", "report") or "--list" in arguments:
            continue  # a study takes its time; tests/cli/test_ablate.py has small ones, test_datasets.py the list
        if arguments[0] == "fit":
            arguments += ["--run_dir", str(tmp_path / str(number)), "--trainer.logger", "false"]
            arguments += ["--trainer.max_epochs", "1", "--data.samples_per_epoch", "256"]
            arguments += ["--model.tokenizer.corpus.size", "64", "--data.train.size", "256"]
        if arguments[0] == "evaluate":
            arguments += ["--no_tracking", "--num_workers", "0"]
        if arguments[0] == "tune":
            arguments += ["--data.batch_size", "8", "--model.tokenizer.corpus.size", "64", "--num_threads", "1"]
        if arguments[0] == "reproduce":
            arguments += ["--run_dir", str(tmp_path / str(number))]
        assert main(arguments) == 0, command
    assert "test/zero_shot" in capsys.readouterr().out
    assert {"exported", "features", "hits.png", "labels.png"} <= {path.name for path in tmp_path.iterdir()}


@pytest.fixture
def own_data(tmp_path, monkeypatch):
    """A working directory with the files that the README's fragments name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    lines = ["file,text"]
    for number in range(60):
        for folder in ("photos", "products"):
            path = tmp_path / "data" / folder / ("oat_milk", "red_apple", "leek")[number % 3] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (70, 66), (4 * number, 90 * (number % 3), 0)).save(path)
        lines.append(f"{path.relative_to(tmp_path / 'data')},picture {number}")
    (tmp_path / "data" / "classes.txt").write_text("oat milk\nred apple\nleek\n")
    (tmp_path / "data" / "captions.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "my_encoders.py").write_text(next(block for block in blocks("python") if "Patches" in block))
    for name in ("Manifest", "products", "my_encoders"):
        (tmp_path / f"{name}.yaml").write_text(next(block for block in blocks("yaml") if name in block))
    return tmp_path


def test_photographs_captions_classes_and_an_encoder_of_ones_own(own_data):
    config = REPOSITORY / "configs" / "photos.yaml"
    text = config.read_text()
    assert len([line for line in text.splitlines() if not line.startswith("#")]) <= 15
    command = ["fit", "--config", str(config), "--trainer.max_epochs", "1", "--trainer.logger", "false"]
    command += ["--data.batch_size", "16", "--model.tokenizer.vocab_size", "300"]
    assert main([*command, "--run_dir", "photos"]) == 0
    assert {row.name.split("/")[2] for row in read_results("photos/results.json")} == {"photos"}
    more = [part for name in ("Manifest", "products", "my_encoders") for part in ("--config", f"{name}.yaml")]
    assert main([*command, *more, "--run_dir", "all"]) == 0
    task = yaml.safe_load(Path("all/config.yaml").read_text())
    assert task["model"]["image_encoder"]["class_path"] == "my_encoders.Patches"
    assert [task["model"]["tokenizer"]["init_args"]["corpus"]] == task["data"]["train"]
    names = {row.name for row in read_results("all/results.json")}
    assert "val/zero_shot/products/accuracy" in names
    assert not any("photos" in name for name in names)


def test_six_lines_are_enough():
    for name in ("Manifest", "products", "my_encoders"):
        assert len(next(block for block in blocks("yaml") if name in block).splitlines()) <= 6


def test_the_python_example_runs(small_run, tmp_path, monkeypatch):
    (tmp_path / "photo.png").write_bytes((REPOSITORY / "docs" / "quickstart.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(next(block for block in blocks("python") if "load(" in block).replace(TIME, str(small_run)), names)
    assert names["image_features"].shape == (1, names["model"].embed_dim)
    assert names["text_features"].shape == (2, names["model"].embed_dim)
    assert names["similarity"].shape == (2,)
    assert names["similarity"].abs().max() <= 1 + 1e-6
    assert clip_lightning.__version__ in (REPOSITORY / "pyproject.toml").read_text()
