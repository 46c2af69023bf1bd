"""Objectives beside the contrastive one through the command line: trained, stored, loaded, used, and gone on with."""

from pathlib import Path

import pytest
import torch
import yaml
from killing import differences, fit

import clip_lightning
from clip_lightning.__main__ import main
from clip_lightning.checkpoint import read_checkpoint
from clip_lightning.data import ShapeScenes
from clip_lightning.results import read_results

CONF = Path(__file__).parents[1] / "conf"
SMALL = ["--trainer.max_epochs", "1", "--data.train.size", "32"]
CAPTIONING = ["--config", str(CONF / "captioning.yaml")]
KINDS = ("bag", "captions", "teacher")


def learning_from(teacher, path="init_args.path"):
    arguments = ["--model.objective", "Distillation", "--model.objective.init_args.teacher", "PretrainedTeacher"]
    return [*arguments, f"--model.objective.init_args.teacher.{path}", str(teacher)]


def run_fit(run_dir, *arguments):
    return main(["fit", "--config", str(CONF / "tiny.yaml"), *SMALL, *arguments, "--run_dir", str(run_dir)])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of each objective; the teacher sees larger images, in other tokens."""
    folder = tmp_path_factory.mktemp("runs")
    other = ["--model.image_encoder.init_args.image_size", "48", "--model.tokenizer.init_args.vocab_size", "280"]
    assert run_fit(folder / "its", *other) == 0
    arguments = {
        "bag": ["--model.objective", "BagOfWordsPrediction"],
        "captions": CAPTIONING,
        "teacher": learning_from(folder / "its" / "checkpoints" / "best.ckpt"),
    }
    for kind in KINDS:
        assert run_fit(folder / kind, *arguments[kind]) == 0
    return folder


def best(runs, kind):
    return runs / kind / "checkpoints" / "best.ckpt"


@torch.no_grad()
def scores_of(path):
    """What a stored model says of some images."""
    loaded = clip_lightning.load(path)
    scenes = torch.stack([loaded.transform(ShapeScenes("val").read(place).image) for place in range(6)])
    rows = loaded.model.encode_image(loaded.model.normalize(scenes))
    return loaded.scorer.classes([["a red circle"], ["a blue star", "the blue star"], ["two rings"]])(rows)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_and_an_export_score_alike(runs, kind, tmp_path):
    names = {row.name for row in read_results(runs / kind / "results.json")}
    assert "test/zero_shot/shape_scenes/accuracy" in names
    scores = scores_of(best(runs, kind))
    assert scores.shape == (6, 3)
    assert scores.isfinite().all()
    assert scores.std() > 0
    exported = tmp_path / "exported"
    assert (
        main(["export", "--checkpoint", str(best(runs, kind)), "--to", "safetensors", "--output", str(exported)]) == 0
    )
    assert torch.equal(scores_of(exported), scores)


@pytest.mark.parametrize("kind", ["bag", "captions"])
def test_a_model_that_predicts_texts_has_no_space_for_them(runs, kind, tmp_path, capsys):
    assert not [name for name in read_checkpoint(best(runs, kind))["state_dict"] if "model.text_" in name]
    loaded = clip_lightning.load(best(runs, kind))
    with pytest.raises(ValueError, match="no text encoder"):
        loaded.model.encode_text(loaded.tokenizer(["a ring"]))
    with pytest.raises(ValueError, match="retrieval and search by text need"):
        loaded.scorer.text_embeds(["a ring"])
    target = ["export", "--checkpoint", str(best(runs, kind)), "--output", str(tmp_path / "x"), "--to"]
    assert main([*target, "open_clip"]) == 2
    assert "open_clip has no place for this model's missing text encoder" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bag", "captions"])
def test_its_image_tower_is_exported_alone(runs, kind, tmp_path):
    command = ["export", "--checkpoint", str(best(runs, kind)), "--to", "torch_export", "--output", str(tmp_path / "x")]
    assert main(command) == 0
    assert [path.name for path in (tmp_path / "x").glob("*.pt2")] == ["image_encoder.pt2"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_its_figures_are_measured_again(runs, kind):
    before = read_results(runs / kind / "results.json")
    assert main(["test", "--run_dir", str(runs / kind)]) == 0
    assert {row.name for row in before} >= {row.name for row in read_results(runs / kind / "results.json")}


SCENES = {"class_path": "ShapeScenesLabels", "init_args": {"split": "test", "size": 20}}
PAIRS = {"class_path": "ShapeScenes", "init_args": {"split": "test", "size": 20}}


@pytest.mark.parametrize("kind", ["bag", "captions"])
def test_it_is_evaluated_on_classes_and_refused_for_retrieval(runs, kind, tmp_path, capsys):
    evaluators = {
        "scenes": {"class_path": "ZeroShot", "init_args": {"dataset": SCENES}},
        "pairs": {"class_path": "Retrieval", "init_args": {"source": PAIRS}},
    }
    for name, evaluator in evaluators.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"evaluators": {name: evaluator}}))
    command = ["evaluate", "--checkpoint", str(best(runs, kind)), "--cache", str(tmp_path / "features")]
    command += ["--no_tracking", "--num_workers", "0", "--config"]
    assert main([*command, str(tmp_path / "scenes.yaml"), "--output", str(tmp_path / "scenes")]) == 0
    found = {row.name: row.value for row in read_results(tmp_path / "scenes" / "results.json")}
    trained = {row.name: row.value for row in read_results(runs / kind / "results.json")}
    assert found
    assert {f"test/{name}": value for name, value in found.items()}.items() <= trained.items()
    capsys.readouterr()
    assert main([*command, str(tmp_path / "pairs.yaml"), "--output", str(tmp_path / "pairs")]) == 2
    assert "has no space that both are in; retrieval and search by text need" in capsys.readouterr().err


def test_the_teacher_is_named_and_not_stored(runs, tmp_path, capsys):
    checkpoint = read_checkpoint(best(runs, "teacher"))
    assert not [name for name in checkpoint["state_dict"] if not name.startswith("model.")]
    teacher = checkpoint["clip_lightning"]["task"]["init_args"]["objective"]["init_args"]["teacher"]
    assert teacher["init_args"]["path"] == str(best(runs, "its"))
    moved = tmp_path / "missing.ckpt"
    assert run_fit(tmp_path / "x", *learning_from(moved)) == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith(f"clip_lightning fit: teacher '{moved}' cannot be loaded: checkpoint '{moved}' does not")
    assert "model.objective.init_args.teacher.init_args.path" in message
    assert len(message.splitlines()) == 1
    assert run_fit(tmp_path / "x", *learning_from(best(runs, "captions"))) == 2
    assert "has no text tower" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_training_starts_from_the_weights_of_such_a_run(runs, tmp_path, capsys):
    start = ["--model.weights", str(best(runs, "captions"))]
    assert run_fit(tmp_path / "same", *CAPTIONING, *start) == 0
    assert run_fit(tmp_path / "other", *start) == 2
    assert "is of another model" in capsys.readouterr().err


OBJECTIVES = {
    "bag": ["--model.objective", "BagOfWordsPrediction"],
    "captions": [*CAPTIONING, "--model.micro_batch_size", "3"],
    "teacher": [],
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", OBJECTIVES)
def test_a_killed_run_goes_on_exactly(runs, tmp_path, kind):
    arguments = OBJECTIVES[kind] or learning_from(best(runs, "its"))
    assert fit(tmp_path / "whole", *arguments) == 0
    assert fit(tmp_path / "killed", *arguments, kill=("update", 7)) == -9
    assert fit(tmp_path / "killed", *arguments) == 0
    assert differences(tmp_path / "whole", tmp_path / "killed") == []
