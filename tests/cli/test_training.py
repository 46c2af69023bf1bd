"""Tiny runs through the real command line, in this process."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from clip_lightning.__main__ import main
from clip_lightning.checkpoint import read_checkpoint
from clip_lightning.data import ShapeScenes
from clip_lightning.results import read_results
from clip_lightning.spec import spec_of
from clip_lightning.task import CLIPTask
from clip_lightning.text import BPETokenizer

TINY = str(Path(__file__).parents[1] / "conf" / "tiny.yaml")


def fit(run_dir, *arguments):
    return main(["fit", "--config", TINY, "--run_dir", str(run_dir), *arguments])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One finished run."""
    folder = tmp_path_factory.mktemp("run") / "tiny"
    assert fit(folder) == 0
    return folder


def rows(folder):
    return {row.name: row for row in read_results(folder / "results.json")}


def test_a_run_leaves_its_configuration_results_checkpoints_and_figure(run):
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["image_encoder"]["init_args"]["mlp_ratio"] == 4.0, "defaults are written out"
    assert (run / "overview.png").stat().st_size > 20_000
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt", "previous.ckpt"}
    start = json.loads((run / "provenance.json").read_text())["starts"][0]
    assert start["packages"]["torch"] == torch.__version__.split("+")[0]
    found = rows(run)
    assert found["val/zero_shot/shape_scenes/accuracy"].n == 33
    assert found["val/zero_shot/shape_scenes_heldout/accuracy"].n == 21
    assert found["test/zero_shot/shape_scenes/accuracy"].n == 20
    row = found["test/zero_shot/shape_scenes/accuracy"]
    assert row.interval[0] <= row.value <= row.interval[1]


def test_the_last_line_is_the_run_folder(tmp_path, capsys):
    assert fit(tmp_path / "x", "--trainer.max_epochs", "1") == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "x")


@pytest.mark.parametrize("verb", ["validate", "test"])
def test_a_stored_run_gives_its_figures_again(run, verb, capsys):
    before = (run / "results.json").read_bytes()
    assert main([verb, "--run_dir", str(run)]) == 0
    out = capsys.readouterr().out
    stage = {"validate": "val", "test": "test"}[verb]
    for name, row in rows(run).items():
        if name.startswith(f"{stage}/"):
            line = next(line for line in out.splitlines() if line.startswith(name))
            assert f" {100 * row.value:.1f} " in line
    assert f"{stage}/loss" in out
    assert (run / "results.json").read_bytes() == before


def test_a_checkpoint_needs_nothing_beside_it(run):
    task = CLIPTask.load_from_checkpoint(run / "checkpoints" / "best.ckpt")
    checkpoint = read_checkpoint(run / "checkpoints" / "best.ckpt")
    assert spec_of(task) == checkpoint["clip_lightning"]["task"]
    assert task.config == {k: v for k, v in yaml.safe_load((run / "config.yaml").read_text()).items()}
    for name, tensor in task.state_dict().items():
        assert torch.equal(tensor, checkpoint["state_dict"][name])
    assert task.tokenizer(["a red circle"]).shape == (1, 24)


def test_the_resolved_configuration_gives_the_same_run_again(run, tmp_path):
    assert main(["fit", "--config", str(run / "config.yaml"), "--run_dir", str(tmp_path / "again")]) == 0
    one, two = (read_checkpoint(folder / "checkpoints" / "last.ckpt") for folder in (run, tmp_path / "again"))
    assert all(torch.equal(tensor, two["state_dict"][name]) for name, tensor in one["state_dict"].items())
    assert [row.value for row in rows(run).values()] == [row.value for row in rows(tmp_path / "again").values()]


def test_a_fragment_with_another_class_replaces_the_encoder(tmp_path):
    fragment = tmp_path / "encoder.yaml"
    fragment.write_text(
        "model: {image_encoder: {class_path: ModifiedResNet, init_args: {image_size: 32, blocks: [1, 1], width: 8,"
        " output_dim: 16}}}"
    )
    assert fit(tmp_path / "x", "--config", str(fragment), "--trainer.max_epochs", "1") == 0
    encoder = yaml.safe_load((tmp_path / "x" / "config.yaml").read_text())["model"]["image_encoder"]
    assert encoder["class_path"].endswith("ModifiedResNet")
    assert "patch_size" not in encoder["init_args"]


def test_another_configuration_in_a_used_folder_is_refused_with_its_keys(run, capsys):
    before = (run / "config.yaml").read_bytes()
    assert fit(run, "--data.batch_size", "8", "--model.embed_dim", "8") == 2
    message = capsys.readouterr().err
    assert "data.batch_size" in message
    assert "model.embed_dim" in message
    assert (run / "config.yaml").read_bytes() == before


def test_a_finished_run_is_not_trained_again(run, tmp_path, capsys):
    before = read_checkpoint(run / "checkpoints" / "last.ckpt")["global_step"]
    assert fit(run) == 0
    assert "continuing" in capsys.readouterr().out
    assert read_checkpoint(run / "checkpoints" / "last.ckpt")["global_step"] == before == 12


def test_evaluators_run_without_pairs_before_training_and_by_steps(tmp_path):
    options = ["--data.val", "null", "--data.test", "null", "--evaluation.before_training", "true"]
    options += ["--evaluation.every_n_steps", "4", "--evaluation.every_n_epochs", "0", "--trainer.max_epochs", "1"]
    assert fit(tmp_path / "x", *options) == 0
    records = [json.loads(line) for line in (tmp_path / "x" / "journal.jsonl").read_text().splitlines()]
    steps = [
        r["step"] for r in records if r["kind"] == "metrics" and "val/zero_shot/shape_scenes/accuracy" in r["values"]
    ]
    assert steps == [0, 4], "each round once, the untrained model's first, and none for the best checkpoint again"
    assert rows(tmp_path / "x")["test/zero_shot/shape_scenes/accuracy"].n == 20


MISTAKES = {
    "a misspelt key": (["--model.embed_dimm", "3"], ["model.embed_dimm", "embed_dim"]),
    "an abbreviated key": (["--trainer.max_step", "3"], ["trainer.max_step", "max_steps"]),
    "a misspelt argument of a part": (["--model.image_encoder.widht", "3"], ["widht", "width"]),
    "a misspelt class": (["--model.image_encoder.class_path", "VisionTransfomer"], ["VisionTransformer"]),
    "a misspelt group": (["--modle.embed_dim", "3"], ["--modle", "--model"]),
    "a wrong type": (["--data.batch_size", "wide"], ["data.batch_size", "int", "wide"]),
    "a missing file": (["--config", "nowhere.yaml"], ["nowhere.yaml", "does not exist"]),
    "a batch larger than the data": (["--data.batch_size", "97"], ["97", "96", "lower batch_size"]),
    "a micro-batch larger than the batch": (["--model.micro_batch_size", "17"], ["17", "16", "data.batch_size"]),
    "a micro-batch of nothing": (["--model.micro_batch_size", "0"], ["micro_batch_size 0", "at least"]),
    "an optimiser that is none for these": (["--model.optimizer", "torch.optim.Muon"], ["Muon", "timm.optim.Muon"]),
    "a patch that does not divide": (["--model.image_encoder.patch_size", "5"], ["5", "32"]),
    "a metric that nothing reports": (["--checkpoints.monitor", "val/los"], ["val/los", "val/loss"]),
    "a group that is no mapping": (["--trainer", "3"], ["trainer", "3", "mapping"]),
    "a group that is nothing": (["--evaluation", "null"], ["evaluation", "mapping"]),
    "a linked key": (["--data.seed", "3"], ["data.seed", "seed_everything"]),
    "a word without a key": (["extra"], ["'extra'", "--KEY VALUE"]),
    "an accelerator that is not there": (["--trainer.accelerator", "foo"], ["foo"]),
    "a seed out of range": (["--seed_everything", "-1"], ["-1"]),
    "negative workers": (["--data.num_workers", "-1"], ["num_workers -1"]),
    "no epoch": (["--trainer.max_epochs", "0"], ["--trainer.max_epochs"]),
    "two evaluators of one name": (
        ["--evaluation.val", "[{class_path: ZeroShot, init_args: {dataset: ShapeScenesLabels}}, "
         "{class_path: ZeroShot, init_args: {dataset: ShapeScenesLabels}}]"],
        ["two evaluators", "another name"],
    ),
    "a package that is not there": (["--trainer.logger", "CometLogger"], ["pip install"]),
    "no duration": (["--trainer.max_epochs", "null"], ["--trainer.max_epochs", "--trainer.max_steps"]),
    "a missing manifest": (
        ["--data.train", "{class_path: Manifest, init_args: {path: nowhere.jsonl}}"], ["nowhere.jsonl"],
    ),
    "a template without placeholder": (
        ["--evaluation.val", "[{class_path: ZeroShot, init_args: {templates: [a photo], dataset: ShapeScenesLabels}}]"],
        ["evaluation.val, evaluator 1 (ZeroShot): template", "a photo", "{}"],
    ),
}  # fmt: skip


CONTENTS = {
    "rows.jsonl": (b'{"image": "a.png", "caption": "a"}\n{"image": "b', ["rows.jsonl:2 is not valid JSON"]),
    "latin.csv": ("image,caption\na.png,café\n".encode("latin-1"), ["latin.csv:2 is not UTF-8 text", "save it as"]),
    "open.csv": (b'image,caption\na.png,"a\n', ["open.csv:2 is not valid CSV"]),
    "none.parquet": (b"no table", ["none.parquet", "not a Parquet file"]),
    "nul.jsonl": (
        b'{"image": "a\\u0000.png", "caption": "a"}\n',
        ["nul.jsonl:1: image is 'a\\x00.png'", "mend the path"],
    ),
    "column.csv": (b"file,text\na.png,a\n", ["column.csv:2 has no column 'image'", "['file', 'text']"]),
}


@pytest.mark.parametrize("corpus", [False, True])
@pytest.mark.parametrize("name", CONTENTS)
def test_a_fault_in_a_manifest_is_named_with_its_place(name, corpus, tmp_path, capsys):
    content, words = CONTENTS[name]
    (tmp_path / name).write_bytes(content)
    source = f"{{class_path: Manifest, init_args: {{path: {tmp_path / name}}}}}"
    arguments = ["--data.train", source, *(["--model.tokenizer.init_args.corpus", source] if corpus else [])]
    assert fit(tmp_path / "x", *arguments) == 2
    (message,) = capsys.readouterr().err.strip().splitlines()
    assert message.startswith("clip_lightning fit: ")
    assert all(word in message for word in words), message


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_message_and_leaves_no_folder(mistake, tmp_path, capsys):
    arguments, words = MISTAKES[mistake]
    assert fit(tmp_path / "runs" / "x", *arguments) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("clip_lightning fit: ")
    assert all(word in message for word in words), message
    assert not (tmp_path / "runs" / "x").exists()


def test_measuring_what_is_no_run_is_refused(tmp_path, capsys):
    assert main(["sync", str(tmp_path)]) == 2
    assert "journal.jsonl" in capsys.readouterr().err
    assert main(["validate", "--run_dir", str(tmp_path)]) == 2
    assert "config.yaml" in capsys.readouterr().err
    assert main(["test"]) == 2
    assert "--run_dir" in capsys.readouterr().err


def test_an_unknown_checkpoint_is_refused(run, capsys):
    assert main(["validate", "--run_dir", str(run), "--checkpoint", "nowhere.ckpt"]) == 2
    assert "'nowhere.ckpt' does not exist" in capsys.readouterr().err


def test_weights_of_another_model_are_refused_with_their_names(run, tmp_path, capsys):
    assert fit(tmp_path / "other", "--model.text_encoder.width", "24", "--trainer.max_epochs", "1") == 0
    assert main(["validate", "--run_dir", str(run), "--checkpoint", str(tmp_path / "other/checkpoints/best.ckpt")]) == 2
    message = capsys.readouterr().err
    assert "another model" in message
    assert "text_encoder" in message


def test_a_part_is_given_by_its_class_alone_and_then_changed(tmp_path):
    options = ["--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", str(tmp_path / "csv")]
    options += ["--model.image_encoder", "examples.mixer.Mixer", "--model.image_encoder.image_size", "32"]
    options += ["--model.image_encoder.patch_size", "16", "--model.image_encoder.width", "8"]
    options += ["--model.image_encoder.depth", "1", "--trainer.max_epochs", "1"]
    assert fit(tmp_path / "x", *options) == 0
    assert list((tmp_path / "csv").rglob("metrics.csv"))
    assert (tmp_path / "x" / "overview.png").exists()


def test_print_config_shows_the_whole_and_makes_nothing(tmp_path, capsys):
    assert fit(tmp_path / "x", "--print_config") == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["model"]["image_encoder"]["init_args"]["mlp_ratio"] == 4.0
    assert not (tmp_path / "x").exists()


def test_curves_end_with_training(run):
    records = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    losses = [r["step"] for r in records if r["kind"] == "metrics" and "val/loss" in r["values"]]
    accuracies = [
        r["step"] for r in records if r["kind"] == "metrics" and "val/zero_shot/shape_scenes/accuracy" in r["values"]
    ]
    assert len(losses) == len(accuracies) == 2


def test_what_does_not_enter_the_result_may_change_when_a_run_goes_on(run):
    assert fit(run, "--data.num_workers", "1", "--name", "other") == 0


def test_a_later_run_in_the_same_process_has_its_own_folder(run, tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "0")  # a run on several processes leaves it behind
    assert fit(tmp_path / "x", "--trainer.max_epochs", "1") == 0
    assert (tmp_path / "x" / "results.json").exists()


def test_epochs_that_do_not_measure_are_no_mistake(tmp_path):
    assert fit(tmp_path / "x", "--evaluation.every_n_epochs", "2", "--trainer.max_epochs", "3") == 0
    best, last = (read_checkpoint(tmp_path / "x" / "checkpoints" / f"{name}.ckpt") for name in ("best", "last"))
    assert (best["global_step"], last["global_step"]) == (12, 18)


def test_captions_that_are_cut_are_counted_before_training(tmp_path, capsys):
    assert fit(tmp_path / "x", "--model.tokenizer.context_length", "12", "--trainer.max_epochs", "1") == 0
    captions = list(ShapeScenes(size=96).captions())
    tokenizer = CLIPTask.load_from_checkpoint(tmp_path / "x" / "checkpoints" / "last.ckpt").tokenizer
    # Without a limit, a text has as many tokens as it needs.
    free = BPETokenizer(tokenizer.vocab_size, 99, merges=tokenizer._init_args["merges"])
    cut = int(((free(captions) == free.eos_id).int().argmax(dim=1) + 1 > 12).sum())
    assert 0 < cut < len(captions)
    told = f"text        {cut} of the first {len(captions)} captions lose what is beyond 12 tokens"
    assert capsys.readouterr().out.count(told) == 1


def test_nothing_is_said_of_captions_that_fit(tmp_path, capsys):
    assert fit(tmp_path / "x", "--trainer.max_epochs", "1", "--model.tokenizer.context_length", "64") == 0
    assert "captions lose" not in capsys.readouterr().out


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_source_without_a_readable_image_ends_the_run_with_one_message(num_workers, tmp_path, capsys):
    lines = [json.dumps({"image": f"nowhere/{index}.png", "caption": f"number {index}"}) for index in range(16)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    source = f"{{class_path: Manifest, init_args: {{path: {tmp_path / 'pairs.jsonl'}, name: pictures}}}}"
    assert fit(tmp_path / "x", "--data.train", source, "--data.num_workers", str(num_workers)) == 2
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    message = errors.strip().splitlines()[-1]
    assert message.startswith("clip_lightning fit: 16 samples in a row are damaged")
    assert "pictures: image file is missing: 16" in message
    assert "pairs.jsonl:" in message


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_loss_that_is_shown_is_that_of_the_last_step(accumulate, tmp_path, capsys):
    arguments = ["--trainer.log_every_n_steps", "1", "--trainer.max_epochs", "2"]
    assert fit(tmp_path / "x", *arguments, "--trainer.accumulate_grad_batches", str(accumulate)) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("epoch")]
    assert len(lines) == 2
    if accumulate == 1:
        records = [json.loads(line) for line in (tmp_path / "x" / "journal.jsonl").read_text().splitlines()]
        logged = {r["step"]: r["values"]["train/loss"] for r in records if "train/loss" in r.get("values", {})}
        ends = [logged[step] for step in sorted(logged)][5::6]
        assert [float(line.split("loss ")[1].split()[0]) for line in lines] == pytest.approx(ends, abs=6e-4)
    else:
        assert all(2.0 < float(line.split("loss ")[1].split()[0]) < 4.5 for line in lines), "that of one batch of 16"


def test_a_batch_in_parts_trains_as_the_whole_and_may_change_its_parts(tmp_path, capsys):
    exactly = ["--trainer.precision", "64-true", "--trainer.max_epochs", "1"]
    assert fit(tmp_path / "whole", *exactly) == 0
    assert fit(tmp_path / "parts", *exactly, "--model.micro_batch_size", "5") == 0
    assert "16 in a step, encoded 5 at a time" in capsys.readouterr().out
    whole, parts = (
        read_checkpoint(tmp_path / name / "checkpoints" / "last.ckpt")["state_dict"] for name in ("whole", "parts")
    )
    assert max((whole[name] - parts[name]).abs().max().item() for name in whole) < 1e-9
    assert fit(tmp_path / "parts", *exactly, "--model.micro_batch_size", "7") == 0


def test_accumulated_batches_are_told_from_one_large_batch(tmp_path, capsys):
    assert fit(tmp_path / "x", "--trainer.accumulate_grad_batches", "3", "--trainer.max_epochs", "1") == 0
    said = capsys.readouterr().out
    assert "3 batches of 16 in a step, each compared within itself" in said
    assert "--data.batch_size 48 --model.micro_batch_size 16" in said
