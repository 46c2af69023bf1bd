"""What the README names exists, and its commands run."""

import re
import shlex
from pathlib import Path

import pytest
import torch

import clip_lightning
from clip_lightning.__main__ import VERBS, main

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
    monkeypatch.chdir(REPOSITORY)
    commands = [line for block in blocks("sh") for line in block.splitlines() if "-m clip_lightning" in line]
    assert len(commands) >= 2
    for number, command in enumerate(commands):
        arguments = shlex.split(command.replace(TIME, str(small_run)), comments=True)[3:]
        if arguments[0] == "fit":
            arguments += ["--run_dir", str(tmp_path / str(number)), "--trainer.logger", "false"]
            arguments += ["--trainer.max_epochs", "1", "--data.samples_per_epoch", "256"]
            arguments += ["--model.tokenizer.corpus.size", "64", "--data.train.size", "256"]
        if arguments[0] == "reproduce":
            arguments += ["--run_dir", str(tmp_path / str(number))]
        if arguments[0] == "data":
            arguments += ["--output", str(tmp_path / "sheet.png")]
        assert main(arguments) == 0, command
    assert "test/zero_shot" in capsys.readouterr().out


def test_the_python_example_runs(small_run, tmp_path, monkeypatch):
    (tmp_path / "photo.png").write_bytes((REPOSITORY / "docs" / "quickstart.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(blocks("python")[0].replace(TIME, str(small_run)), names)
    assert names["image_features"].shape == (1, names["model"].embed_dim)
    assert names["text_features"].shape == (2, names["model"].embed_dim)
    assert isinstance(names["text_features"], torch.Tensor)
    assert clip_lightning.__version__ in (REPOSITORY / "pyproject.toml").read_text()
