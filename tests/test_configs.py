"""Every shipped configuration begins with the command that runs it, and builds and trains."""

import json
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from clip_lightning.__main__ import main
from clip_lightning.ablation.study import Study
from clip_lightning.cli.ablate import compose_variants
from clip_lightning.config import read_config
from clip_lightning.results import read_results

REPOSITORY = Path(__file__).parents[1]
CONFIGS = sorted((REPOSITORY / "configs").rglob("*.yaml"))
EMBEDDED = [path for path in CONFIGS if path.stem in ("quickstart", "short") or path.parent.name == "image_encoder"]
OBJECTIVES = [path for path in CONFIGS if path.parent.name == "objective"]
QUICKSTART = REPOSITORY / "configs" / "quickstart.yaml"
TEACHER = "runs/quickstart/TIME"
ALL_STUDIES = [path for path in CONFIGS if path.parent.name == "ablations"]
STUDIES = [path for path in ALL_STUDIES if "grocery" not in path.stem]
OPTIMIZERS = [path for path in CONFIGS if path.parent.name == "optimizer"]
SMALL = [
    "--trainer.logger", "false", "--trainer.max_epochs", "1", "--data.samples_per_epoch", "256",
    "--model.tokenizer.corpus.size", "64", "--data.train.size", "256", "--data.batch_size", "64",
]  # fmt: skip
CHANCE = 1 / 64


@pytest.fixture
def in_repository(monkeypatch):
    monkeypatch.chdir(REPOSITORY)


def commands_of(path):
    lines = path.read_text().splitlines()
    return [line.removeprefix("# ").split() for line in lines if line.startswith("# python -m clip_lightning")]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_a_configuration_begins_with_its_command(path):
    assert path.read_text().startswith("# ")
    command = commands_of(path)[0]
    assert command[3] in ("ablate", "evaluate", "fit", "summary")
    named = [word for word in command if word.endswith(".yaml")]
    assert str(path.relative_to(REPOSITORY)) == named[-1]
    assert all((REPOSITORY / name).is_file() for name in named)


@pytest.mark.parametrize("path", ALL_STUDIES, ids=lambda path: path.stem)
def test_a_study_has_seeds_for_a_claim_and_is_decided_by_zero_shot(path, in_repository):
    study = Study.read(read_config(path), path.stem)
    assert len(study.seeds.fixed) >= 5
    assert study.budget is not None
    assert re.match("test/(zero_shot|prompts)/", study.decides)
    assert len(compose_variants(study)) >= 4


def test_prompts_are_studied_in_the_runs_of_another_study(in_repository):
    prompting, scaling = (
        Study.read(read_config(REPOSITORY / "configs" / "ablations" / f"{name}.yaml"), name)
        for name in ("prompting", "scaling")
    )
    assert compose_variants(prompting) == compose_variants(scaling)
    assert (prompting.budget, prompting.seeds) == (scaling.budget, scaling.seeds)


@pytest.mark.slow
@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_study_has_variants_that_can_be_matched(path, tmp_path, in_repository, capsys):
    assert main([*commands_of(path)[0][3:], "--runs_dir", str(tmp_path), "--dry_run"]) == 0
    assert "cost" in capsys.readouterr().out


@pytest.mark.parametrize("path", EMBEDDED, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_its_command_trains(path, tmp_path, in_repository):
    assert main([*commands_of(path)[0][3:], *SMALL, "--run_dir", str(tmp_path / "x")]) == 0
    assert len(read_results(tmp_path / "x" / "results.json")) >= 12


@pytest.mark.slow
@pytest.mark.parametrize("path", OPTIMIZERS, ids=lambda path: path.stem)
def test_each_optimizer_trains(path, tmp_path, in_repository):
    assert main([*commands_of(path)[0][3:], *SMALL, "--run_dir", str(tmp_path / "x")]) == 0
    assert len(read_results(tmp_path / "x" / "results.json")) >= 12


@pytest.mark.slow
@pytest.mark.parametrize("name", ["small_vit", "small_resnet", "timm", "mixer"])
def test_each_encoder_learns(name, tmp_path, in_repository):
    arguments = ["fit", "--config", "configs/quickstart.yaml", "--config", f"configs/image_encoder/{name}.yaml"]
    arguments += ["--trainer.logger", "false", "--trainer.max_epochs", "2", "--data.samples_per_epoch", "16384"]
    assert main([*arguments, "--run_dir", str(tmp_path / "x")]) == 0
    rows = {row.name: row for row in read_results(tmp_path / "x" / "results.json")}
    assert rows["test/zero_shot/shape_scenes/accuracy"].interval[0] > 2 * CHANCE


@pytest.mark.slow
@pytest.mark.parametrize("path", OBJECTIVES, ids=lambda path: path.stem)
def test_each_objective_learns(path, tmp_path, in_repository):
    learning = [
        "--trainer.logger",
        "false",
        "--trainer.max_epochs",
        "3",
        "--model.schedule.init_args.warmup_steps",
        "60",
        "--num_threads",
        "1",
    ]
    command = [word.replace(TEACHER, str(tmp_path / "teacher")) for word in commands_of(path)[0][3:]]
    if path.stem == "distillation":
        teacher = [*commands_of(QUICKSTART)[0][3:], *learning, "--run_dir", str(tmp_path / "teacher")]
        assert main([*teacher, "--trainer.max_epochs", "1"]) == 0
    assert main([*command, *learning, "--run_dir", str(tmp_path / "x")]) == 0
    rows = {row.name: row for row in read_results(tmp_path / "x" / "results.json")}
    assert rows["test/zero_shot/shape_scenes/accuracy"].interval[0] > 2 * CHANCE


@pytest.fixture
def emoji(tmp_path, monkeypatch):
    """A few drawings in the layout of both sets of emoji, as the working directory."""
    generator = np.random.default_rng(0)
    names = [f"thing {number}" for number in range(12)]
    for artist in ("noto", "twemoji"):
        folder = tmp_path / "data" / f"emoji-{artist}"
        (folder / "images").mkdir(parents=True)
        rows = []
        for number, name in enumerate([*names, "thing 0: dark skin tone", "flag: somewhere"]):
            Image.fromarray(generator.integers(0, 256, (72, 72, 3), dtype=np.uint8)).save(
                folder / f"images/{number}.png"
            )
            rows.append({
                "image": f"images/{number}.png", "id": str(number), "caption": name, "keywords": [f"word {number}"],
                "group": "Flags" if "flag" in name else "Objects", "skin_tone": "skin" in name,
                "split": ("train", "train", "val", "test")[number % 4], "same_pixels_as": None,
            })  # fmt: skip
        (folder / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(REPOSITORY))


@pytest.mark.parametrize(("name", "pairs", "classes"), [("emoji", 14, 12), ("emoji_unseen", 8, 3)])
def test_emoji_train_and_are_told_apart(name, pairs, classes, emoji, tmp_path, capsys):
    command = commands_of(REPOSITORY / "configs" / f"{name}.yaml")[0][3:]
    arguments = [str(REPOSITORY / word) if word.endswith(".yaml") else word for word in command]
    arguments += ["--trainer.logger", "false", "--trainer.max_epochs", "1", "--data.batch_size", "4"]
    arguments += ["--data.num_workers", "0", "--evaluation.num_workers", "0", "--model.tokenizer.vocab_size", "300"]
    assert main([*arguments, "--run_dir", str(tmp_path / "x")]) == 0
    assert f"{pairs} pairs" in capsys.readouterr().out
    row = next(row for row in read_results(tmp_path / "x" / "results.json") if row.name.startswith("test/"))
    assert len(row.protocol["class_names"]) == classes
    assert row.n == {"emoji": 9, "emoji_unseen": 3}[name]


@pytest.fixture(scope="module")
def groceries(shared_data, tmp_path_factory):
    """The photographs of a few products, in the layout that the configuration expects."""
    folder = tmp_path_factory.mktemp("groceries")
    with tarfile.open(shared_data / "grocery-store.tar") as tar:
        tar.extractall(folder / "data", filter="data")
    manifest = folder / "data" / "grocery-store" / "captions.jsonl"
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    kept = [row for row in rows if row["label"] < 6]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in kept))
    return folder


@pytest.mark.slow
def test_a_study_of_photographs_has_variants_that_can_be_matched(groceries, tmp_path, monkeypatch, capsys):
    (tmp_path / "configs").symlink_to(REPOSITORY / "configs")
    (tmp_path / "data").symlink_to(groceries / "data")
    monkeypatch.chdir(tmp_path)
    command = commands_of(REPOSITORY / "configs" / "ablations" / "image_encoder_grocery.yaml")[0]
    assert main([*command[3:], "--dry_run"]) == 0
    assert "cost        20 runs" in capsys.readouterr().out


@pytest.mark.slow
def test_real_photographs_train_from_a_manifest(groceries, tmp_path, monkeypatch):
    monkeypatch.chdir(groceries)
    arguments = ["fit", "--config", str(REPOSITORY / "configs" / "grocery.yaml"), "--run_dir", str(tmp_path / "x")]
    arguments += ["--trainer.logger", "false", "--trainer.max_epochs", "4", "--data.num_workers", "1"]
    assert main([*arguments, "--evaluation.num_workers", "0", "--data.batch_size", "32"]) == 0
    rows = {row.name: row for row in read_results(tmp_path / "x" / "results.json")}
    accuracy = rows["test/zero_shot/grocery-store/accuracy"]
    assert accuracy.n > 100
    assert accuracy.interval[0] > 1 / 6, "above chance over six products"
    assert yaml.safe_load((tmp_path / "x" / "config.yaml").read_text())["name"] == "grocery"
