import importlib.util
from pathlib import Path

import pytest
import released_sets
import yaml
from trained_model import write_model

from clip_lightning import evaluation
from clip_lightning.__main__ import main
from clip_lightning.cli.compose import read_config
from clip_lightning.cli.datasets import at_data_root, with_downloads
from clip_lightning.cli.evaluators import build_evaluators

REPOSITORY = Path(__file__).parents[2]
CONFIGS = REPOSITORY / "configs" / "evaluate"


@pytest.fixture
def in_repository(monkeypatch):
    monkeypatch.chdir(REPOSITORY)


def test_a_listing_says_what_is_here_and_how_to_get_the_rest(tmp_path, monkeypatch, in_repository, capsys):
    released_sets.food101(tmp_path, monkeypatch)
    assert main(["evaluate", "--list", "--data_root", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"1 of 38 data sets are in {tmp_path}")
    [here] = [line for line in lines if line.startswith("food101 ")]
    assert here.split()[1:] == ["here", "25,250", "images"]
    place = next(number for number, line in enumerate(lines) if line.startswith("hateful_memes"))
    assert "by hand" in lines[place]
    assert f"unpack it into {tmp_path}/hateful_memes" in lines[place + 1]
    assert "--download" in next(line for line in lines if line.startswith("cifar10 "))
    assert f"curl -o {tmp_path}/prompts.md https://raw.githubusercontent.com/openai/CLIP" in lines[-1]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("food101", ["data set 'food101' is not here: there is no", "food-101", "With --download, torchvision"]),
        ("hateful_memes", ["no", "dev_seen.jsonl and no", "Agree to the licence"]),
    ],
)
def test_an_absent_set_is_refused_with_how_to_get_it(name, words, tmp_path, capsys):
    config = str(CONFIGS / "datasets" / f"{name}.yaml")
    assert main(["evaluate", "--checkpoint", "x", "--config", config, "--data_root", str(tmp_path)]) != 0
    message = capsys.readouterr().err
    assert all(word in message for word in words)
    assert "Traceback" not in message


def test_absent_prompts_are_refused_with_how_to_get_them(tmp_path, monkeypatch, capsys):
    released_sets.food101(tmp_path, monkeypatch)
    config = str(CONFIGS / "datasets" / "food101.yaml")
    assert main(["evaluate", "--checkpoint", "x", "--config", config, "--data_root", str(tmp_path)]) != 0
    assert f"curl -o {tmp_path}/prompts.md" in capsys.readouterr().err


def test_an_absent_package_is_refused_with_its_name(tmp_path, monkeypatch, capsys):
    released_sets.eurosat(tmp_path, monkeypatch)
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "clip_benchmark" else found(name))
    config = str(CONFIGS / "datasets" / "eurosat.yaml")
    assert main(["evaluate", "--checkpoint", "x", "--config", config, "--data_root", str(tmp_path)]) != 0
    assert "pip install clip-benchmark" in capsys.readouterr().err


def test_only_paths_below_the_data_root_are_moved():
    config = {"a": "data", "b": ["data/x", "database/x", "my/data/x"], "get": "data/x, of http://a/data/b", "n": 1}
    moved = {"a": "/big", "b": ["/big/x", "database/x", "my/data/x"], "get": "/big/x, of http://a/data/b", "n": 1}
    assert at_data_root(config, "/big") == moved
    assert at_data_root(config, "data") == config


def test_only_sets_that_can_download_are_told_to():
    config = read_config(CONFIGS / "datasets" / "food101.yaml")
    dataset = with_downloads(config)["evaluators"]["food101"]["init_args"]["dataset"]
    assert dataset["init_args"]["dataset"]["init_args"] == {"root": "data", "split": "test", "download": True}
    config = read_config(CONFIGS / "datasets" / "fer2013.yaml")
    assert with_downloads(config) == config


@pytest.mark.parametrize("name", ["shape_scenes", "food101"])
def test_the_description_of_a_set_is_checked(name, tmp_path, capsys):
    described = {"datasets": {name: {"file": ["data/x"], "get": "."}}, "evaluators": {}}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(described))
    assert main(["evaluate", "--checkpoint", "x", "--config", str(tmp_path / "a.yaml")]) != 0
    assert f"datasets.{name} is to have files, images and get" in capsys.readouterr().err


def test_every_evaluator_of_embedded_data_has_a_case():
    config = read_config(CONFIGS / "quick.yaml")
    named = {one["class_path"] for one in config["evaluators"].values()}
    contracts = {"Context", "Evaluator", "Probed", "linear_probe"}
    # Places on Earth, and annotated videos, are not drawn.
    assert set(evaluation.__all__) - contracts - {"Geolocation", "RareActions"} <= named
    evaluators, _ = build_evaluators(config)
    assert len({evaluator.prefix for evaluator in evaluators.values()}) == len(evaluators)


def test_a_whole_data_set_is_evaluated_by_the_command_line(tmp_path, monkeypatch, in_repository, capsys):
    """Food-101 in three images, by names and templates of a file; the size is told."""
    released_sets.food101(tmp_path, monkeypatch)
    section = "## Food101\nclasses = [\n 'ramen', 'apple pie', 'pho',\n]\ntemplates = [\n 'a {}.',\n]\n"
    (tmp_path / "prompts.md").write_text(section)
    write_model(tmp_path / "model.ckpt")
    arguments = ["evaluate", "--checkpoint", str(tmp_path / "model.ckpt"), "--num_workers", "0"]
    arguments += [
        "--config",
        "configs/evaluate/datasets/food101.yaml",
        "--evaluators.food101_probe",
        "null",
        "--data_root",
        str(tmp_path),
        "--no_tracking",
    ]
    with pytest.warns(UserWarning, match="food101 has 3 samples, but 25,250 are published"):
        assert main([*arguments, "--output", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]) == 0
    assert "zero_shot/food101/accuracy" in capsys.readouterr().out
    stored = read_config(tmp_path / "out" / "config.yaml")
    dataset = stored["evaluators"]["food101"]["init_args"]["dataset"]["init_args"]
    assert dataset["dataset"]["init_args"]["root"] == str(tmp_path)
