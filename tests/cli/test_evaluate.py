"""``evaluate``: figures of models on labelled data, by the real command line."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import timm
import torch
import yaml
from safetensors.torch import save_file
from trained_model import draw, write_model

import clip_lightning
from clip_lightning.__main__ import main
from clip_lightning.cli.evaluate import labels_of
from clip_lightning.data import Digits, ShapeScenesLabels
from clip_lightning.inference import zero_shot_classifier
from clip_lightning.results import printed, read_results

SCENES = {"class_path": "ShapeScenesLabels", "init_args": {"split": "test", "size": 48}}
COMMIT = "0123456789" * 4
CONFIG = {"evaluators": {"scenes": {"class_path": "ZeroShot", "init_args": {"dataset": SCENES}}}}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A model and a configuration, in the working directory."""
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "model.ckpt")
    (tmp_path / "scenes.yaml").write_text(yaml.dump(CONFIG))
    (tmp_path / "misspelt.yaml").write_text("evaluaters: {}")
    return tmp_path


def arguments(*more, checkpoints=("model.ckpt",), output="out"):
    return [
        *("evaluate", "--checkpoint", *checkpoints, "--config", "scenes.yaml", "--output", output, "--no_tracking"),
        *("--num_workers", "0", *more),
    ]


def test_the_figures_are_those_of_the_model(folder, capsys):
    assert main(arguments()) == 0
    rows = {row.metric: row for row in read_results("out/results.json")}
    model, tokenizer, transform, *_ = clip_lightning.load("model.ckpt")
    dataset = ShapeScenesLabels("test", size=48)
    with torch.no_grad():
        pixels = torch.stack([transform(dataset.source.read(index).image) for index in range(48)])
        embeds = torch.nn.functional.normalize(model.encode_image(model.normalize(pixels)), dim=1)
        classes = zero_shot_classifier(model, tokenizer, dataset.class_names, dataset.templates)
    hits = (embeds @ classes.T).argmax(dim=1) == torch.tensor([dataset.target(index) for index in range(48)])
    assert rows["accuracy"].value == pytest.approx(hits.float().mean().item())
    assert rows["accuracy"].n == 48
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == "out"
    assert "zero_shot/shape_scenes/accuracy" in printed.out
    assert "shape_scenes: 48 images to encode" in printed.err
    resolved = yaml.safe_load((folder / "out" / "config.yaml").read_text())
    assert resolved["checkpoint"] == ["model.ckpt"]
    assert resolved["evaluators"]["scenes"]["init_args"]["dataset"]["init_args"]["seed"] == 0


def test_one_pass_serves_evaluators_of_many_kinds(folder, capsys):
    captions = {"class_path": "ShapeScenes", "init_args": {"split": "test", "size": 48}}
    kinds = {
        "prompts": ("PromptGain", {"dataset": SCENES, "templates": ["a {c}", "the {}"]}),
        "calibration": ("Calibration", {"dataset": SCENES, "validation": SCENES}),
        "outliers": ("OutOfDistribution", {"dataset": SCENES, "outliers": {"class_path": "Digits"}}),
        "retrieval": ("Retrieval", {"source": captions, "captions_per_image": 2, "prefix": "a photo of"}),
    }
    more = {"evaluators": {name: {"class_path": kind, "init_args": given} for name, (kind, given) in kinds.items()}}
    (folder / "more.yaml").write_text(yaml.dump(more))
    assert main(arguments("--config", "more.yaml")) == 0
    rows = {row.name: row for row in read_results("out/results.json")}
    assert capsys.readouterr().err.count("shape_scenes: 48 images to encode") == 1
    assert rows["prompts/shape_scenes/gain"].protocol["templates"]["ensemble"] == ["a {}", "the {}"]
    assert rows["calibration/shape_scenes/expected_calibration_error"].details["kind"] == "reliability"
    assert rows["calibration/shape_scenes/temperature"].unit == "times"
    assert rows["out_of_distribution/shape_scenes_digits/area_under_roc"].n == 48 + len(Digits())
    assert rows["retrieval/shape_scenes/text_to_image_recall_at_10"].n == 96
    low, high = rows["retrieval/shape_scenes/image_to_text_median_rank"].interval
    assert 1 <= low <= high <= 96


def test_a_second_run_encodes_nothing_and_finds_the_same(folder, capsys):
    assert main(arguments()) == 0
    first = (folder / "out" / "results.json").read_bytes()
    capsys.readouterr()
    assert main(arguments()) == 0
    assert "shape_scenes: features of 48 images, from runs/features/" in capsys.readouterr().err
    assert (folder / "out" / "results.json").read_bytes() == first


def test_other_weights_are_said_and_encoded_anew(folder, capsys):
    assert main(arguments()) == 0
    write_model(folder / "model.ckpt", seed=1)
    assert main(arguments()) == 0
    assert "48 images to encode; what is kept of them is of other weights" in capsys.readouterr().err


def test_files_add_evaluators_and_null_takes_one_out(folder):
    heldout = {"class_path": "ShapeScenesLabels", "init_args": {"split": "heldout", "size": 8}}
    more = {"evaluators": {"heldout": {"class_path": "ZeroShot", "init_args": {"dataset": heldout}}}}
    (folder / "more.yaml").write_text(yaml.dump(more))
    assert main(arguments("--config", "more.yaml")) == 0
    sources = ["shape_scenes", "shape_scenes_heldout"]
    assert list(dict.fromkeys(row.source for row in read_results("out/results.json"))) == sources
    assert main(arguments("--config", "more.yaml", "--evaluators.scenes", "null", output="fewer")) == 0
    assert {row.source for row in read_results("fewer/results.json")} == {"shape_scenes_heldout"}


def test_several_models_are_compared_with_the_first(folder, capsys):
    write_model(folder / "other.ckpt", seed=1)
    assert main(arguments(checkpoints=("model.ckpt", "other.ckpt"))) == 0
    rows = {row.model: row for row in read_results("out/results.json") if row.metric == "accuracy"}
    assert list(rows) == ["model.ckpt", "other.ckpt"]
    compared = json.loads((folder / "out" / "results.json").read_text())["comparisons"]
    one = next(one for one in compared if one["name"] == "zero_shot/shape_scenes/accuracy")
    assert (one["model"], one["baseline"], one["n"]) == ("other.ckpt", "model.ckpt", 48)
    assert one["difference"] == pytest.approx(rows["other.ckpt"].value - rows["model.ckpt"].value)
    assert "other.ckpt less model.ckpt, on the same samples" in capsys.readouterr().out
    assert "The models compared" in (folder / "out" / "report.html").read_text()


def test_the_page_has_the_figures_and_what_they_are_of(folder, capsys):
    assert main(arguments("--published_as", "ViT-B/32")) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["out/report.html", "out"]
    page = (folder / "out" / "report.md").read_text()
    for row in read_results("out/results.json"):
        assert f"| {printed(row.value, row.unit)} |" in page
    model = clip_lightning.load("model.ckpt").model
    assert f"- parameters: {sum(one.numel() for one in model.parameters()):,}" in page
    assert "- checkpoint: model.ckpt" in page
    assert "Nothing is known to be published of ViT-B/32 on these data sets." in page
    assert (folder / "out" / "report.html").read_text().lstrip().startswith("<!DOCTYPE html>")


def test_images_that_cannot_be_read_have_their_reasons(folder, capsys):
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        draw(folder / "pets" / name, seed=0)
    (folder / "pets" / "dog" / "2.png").touch()
    pets = {"class_path": "LabelledFolders", "init_args": {"path": "pets", "templates": ["a {}"]}}
    more = yaml.dump({"class_path": "ZeroShot", "init_args": {"dataset": pets}}, default_flow_style=True, width=999)
    assert main(arguments("--evaluators.scenes", "null", "--evaluators.pets", more)) == 0
    assert "1 image of pets cannot be read: empty file (1)" in capsys.readouterr().err
    assert "empty file (1)" in (folder / "out" / "report.md").read_text()
    written = json.loads((folder / "out" / "results.json").read_text())["unreadable"]
    assert written == [{"source": "pets", "reasons": {"empty file": 1}, "model": ""}]


def test_figures_are_there_though_their_comparison_fails(folder, monkeypatch):
    def fail(*_):
        raise RuntimeError

    monkeypatch.setattr("clip_lightning.cli.evaluate.compare", fail)
    write_model(folder / "other.ckpt", seed=1)
    with pytest.raises(RuntimeError):
        main(arguments(checkpoints=("model.ckpt", "other.ckpt")))
    assert {row.model for row in read_results("out/results.json")} == {"model.ckpt", "other.ckpt"}


@pytest.mark.parametrize(
    ("paths", "labels"),
    [
        (["runs/a/best.ckpt"], [""]),
        (["runs/a/1/checkpoints/best.ckpt", "runs/b/2/checkpoints/best.ckpt"], ["a/1", "b/2"]),
        (["a/best.ckpt", "a/last.ckpt"], ["best.ckpt", "last.ckpt"]),
        (["a.pt", "x/a.pt"], ["a.pt", "x/a.pt"]),
        (["x", "x/y"], ["x", "y"]),
        (["/a/x.ckpt", "timm:resnet50"], ["/a/x.ckpt", "timm:resnet50"]),
    ],
)
def test_labels_tell_paths_apart_in_few_words(paths, labels):
    assert labels_of(paths) == labels
    assert len(set(labels)) == len(paths)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--evaluators.scenes", "null"], "there are no evaluators; name a file of them"),
        (["--evaluators.scenes.datset", "1"], "did you mean 'dataset'?"),
        (["--evaluators.other", "{class_path: ZeroShott}"], "did you mean 'ZeroShot'?"),
        (["--evaluators.other", "{class_path: ZeroShot, init_args: {dataset: Digits, templates: [x]}}"],
         "evaluator 'other' (ZeroShot): template 'x' has no place for the name"),
        (["--evaluators.other", "{class_path: ZeroShot, init_args: {dataset: Digits, templats: [x]}}"],
         "evaluator 'other' (ZeroShot): "),
        (["--evaluators.other", "{class_path: Retrieval, init_args: {source: {class_path: ShapeScenesLabels}}}"],
         "'ShapeScenesLabels' is of another kind than what belongs there"),
        (["--evaluators.other", yaml.dump(CONFIG["evaluators"]["scenes"], default_flow_style=True)],
         "evaluators 'scenes' and 'other' both report 'zero_shot/shape_scenes'"),
        (["--published_as", "vit-b-32"], "did you mean 'ViT-B/32'?"),
        (["--evaluators.scense", "null"], "evaluator scense is not known; did you mean 'scenes'?"),
        (["--config", "misspelt.yaml"], "key evaluaters is not known; did you mean 'evaluators'?"),
        (["--evaluator", "x"], "did you mean --evaluators.NAME.KEY?"),
        (["--config", "scene.yaml"], "did you mean 'scenes.yaml'?"),
        (["--evaluators.scenes.dataset.split", "tst"], "split 'tst' is not known; did you mean 'test'?"),
        (["--evaluators.scenes.dataset.split", "train"], "the split 'train' has scenes without"),
        (["--evaluators", "[1]"], "it is a mapping of names"),
        (["--checkpoint", "model.ckpt", "modle.ckpt"], "checkpoint 'modle.ckpt' does not exist"),
        (["--checkpoint", "model.ckpt", "model.ckpt"], "names 'model.ckpt' several times"),
        (["--batch_size", "0"], "--batch_size 0 must be 1 at least"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_message_and_leaves_no_folder(folder, capsys, more, message):
    assert main(arguments(*more)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (folder / "out").exists()


def test_a_folder_of_another_configuration_is_left_alone(folder, capsys):
    assert main(arguments()) == 0
    before = (folder / "out" / "results.json").read_bytes()
    assert main(arguments("--evaluators.scenes.templates", '["a {}"]')) == 2
    assert "differs in evaluators.scenes.init_args.templates; choose another --output" in capsys.readouterr().err
    assert (folder / "out" / "results.json").read_bytes() == before


def test_a_folder_without_results_is_taken(folder):
    (folder / "out").mkdir()
    (folder / "out" / "config.yaml").write_text("name: another\n")
    assert main(arguments()) == 0
    assert yaml.safe_load((folder / "out" / "config.yaml").read_text())["checkpoint"] == ["model.ckpt"]


def test_an_image_encoder_alone_is_measured_by_probes(folder, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    store = folder / "hub" / f"models--{timm.get_pretrained_cfg('test_vit').hf_hub_id.replace('/', '--')}"
    (store / "snapshots" / COMMIT).mkdir(parents=True)
    (store / "refs").mkdir()
    (store / "refs" / "main").write_text(COMMIT)
    save_file(timm.create_model("test_vit").state_dict(), store / "snapshots" / COMMIT / "model.safetensors")
    for number in range(16):
        draw(folder / "pets" / ("cat", "dog")[number % 2] / f"{number}.png", seed=number)
    pets = {"class_path": "LabelledFolders", "init_args": {"path": "pets", "templates": ["a {}"]}}
    probe = {"class_path": "LinearProbe", "init_args": {"train": pets, "test": pets}}
    shots = {"class_path": "FewShot", "init_args": {"train": pets, "test": pets, "shots": [1, 2], "full": False}}
    (folder / "more.yaml").write_text(yaml.dump({"evaluators": {"probe": probe, "shots": shots}}))
    more = "--config", "more.yaml"
    assert main(arguments(*more, checkpoints=("timm:test_vit",))) == 2
    error = capsys.readouterr().err
    assert "evaluator 'scenes' cannot be measured: 'timm:test_vit' has an image tower alone and takes no texts" in error
    assert "encode" not in error
    assert not (folder / "out").exists()
    assert main(arguments(*more, checkpoints=("model.ckpt", "timm:test_vit"))) == 0
    error = capsys.readouterr().err
    assert error.count("timm:test_vit not measured: scenes\n") == 1
    assert error.count("timm:test_vit measured without zero-shot classification: shots\n") == 1
    rows = {(row.model, row.name.split("/")[0]): row for row in read_results("out/results.json")}
    probes = {(model, probe) for model in ("model.ckpt", "timm:test_vit") for probe in ("linear_probe", "few_shot")}
    assert rows.keys() == {("model.ckpt", "zero_shot"), *probes}
    assert "zero-shot classification: model.ckpt" in (folder / "out" / "report.md").read_text()


def test_the_listing_needs_no_checkpoint_and_no_reader_to_the_end(folder, monkeypatch, capsys):
    monkeypatch.chdir(Path(clip_lightning.__file__).parents[1])
    assert main(["evaluate", "--list"]) == 0
    listing = capsys.readouterr().out
    assert main(["evaluate", "--checkpoint", "model.ckpt", "--list"]) == 0
    assert capsys.readouterr().out == listing
    assert main(["evaluate", "--lst"]) == 2
    assert "did you mean --list?" in capsys.readouterr().err
    assert main(["evaluate", "--config", "configs/evaluate/quick.yaml"]) == 2
    assert "--checkpoint is missing" in capsys.readouterr().err
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "clip_lightning", "--help"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.slow
def test_processes_of_a_launcher_share_the_images(folder):
    assert main(arguments(output="alone")) == 0
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]
    command = [*launcher, "clip_lightning", *arguments("--cache", "shared")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "out"
    values = [[row.value for row in read_results(f"{output}/results.json")] for output in ("alone", "out")]
    assert values[0] == pytest.approx(values[1])


@pytest.mark.slow
def test_mlflow_has_the_figures_once_however_often_they_are_measured(folder, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    for _ in range(2):
        assert main([argument for argument in arguments() if argument != "--no_tracking"]) == 0
    # On a busy machine, the process beside it is still delivering.
    while main(["sync", "out"]) != 0:
        time.sleep(1)
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as store:
        stored = dict(store.execute("select key, value from metrics where key like 'test/%'").fetchall())
        points = store.execute("select count(*) from metrics where key like 'test/%'").fetchone()[0]
    assert stored == {f"test/{row.name}": pytest.approx(row.value) for row in read_results("out/results.json")}
    assert points == len(stored)
