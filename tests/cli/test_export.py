"""``export`` through the command line, from a run to a folder with its model card."""

import pytest
import torch

import clip_lightning
from clip_lightning.__main__ import main
from clip_lightning.results import read_results


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    assert main(["fit", "--config", "tests/conf/tiny.yaml", "--run_dir", str(folder)]) == 0
    return folder


def export(checkpoint, target, output, *more):
    return main(["export", "--checkpoint", str(checkpoint), "--to", target, "--output", str(output), *more])


def test_a_run_becomes_a_folder_with_its_card(run_dir, tmp_path, capsys):
    checkpoint = run_dir / "checkpoints" / "best.ckpt"
    assert export(checkpoint, "safetensors", tmp_path / "out") == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "out")
    image = torch.randn(2, 3, 32, 32)
    assert torch.equal(
        clip_lightning.load(tmp_path / "out").model.encode_image(image),
        clip_lightning.load(checkpoint).model.encode_image(image),
    )
    card = (tmp_path / "out" / "README.md").read_text()
    assert "# tiny\n" in card
    assert "ShapeScenes(split='train', size=96, seed=0)" in card
    content = torch.load(checkpoint, weights_only=True)
    assert f"samples seen: {content['global_step'] * 16:,} image-text pairs" in card
    for row in read_results(run_dir / "results.json"):
        ends = "-" if row.interval is None else f"{row.interval[0]:.4f} to {row.interval[1]:.4f} ({row.method})"
        assert f"| {row.name} | {row.value:.4f} | {ends} | {row.n} | 0 |" in card
    for limit in ("surveillance", "Fairness", "Counting", "Languages"):
        assert limit in card
    assert "clip_lightning.load" in card


def test_an_exported_folder_is_exported_again_with_what_it_knows(run_dir, tmp_path):
    assert export(run_dir / "checkpoints" / "best.ckpt", "safetensors", tmp_path / "one") == 0
    assert export(tmp_path / "one", "safetensors", tmp_path / "two") == 0
    first, second = (clip_lightning.load(tmp_path / name).card for name in ("one", "two"))
    assert first["samples_seen"] == second["samples_seen"] > 0
    assert first["config"] == second["config"]
    assert "No figures lay beside these weights" in (tmp_path / "two" / "README.md").read_text()


def test_figures_of_another_checkpoint_are_said_to_be(run_dir, tmp_path):
    other = run_dir / "checkpoints" / "other.ckpt"
    other.write_bytes((run_dir / "checkpoints" / "last.ckpt").read_bytes())
    assert export(other, "safetensors", tmp_path / "out") == 0
    assert "are of the run's best checkpoint, which may be another" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--to", "open_clip"], "open_clip has no place for this model's tokeniser BPETokenizer; safetensors"),
        (["--to", "coreml"], "invalid choice: 'coreml'"),
        (["--to", "open_clip", "--chekpoint", "x"], "option --chekpoint is not known; did you mean --checkpoint?"),
    ],
)
def test_mistakes_are_one_message_and_leave_nothing(run_dir, tmp_path, capsys, arguments, told):
    checkpoint = str(run_dir / "checkpoints" / "best.ckpt")
    output = tmp_path / "out"
    assert main(["export", "--checkpoint", checkpoint, "--output", str(output), *arguments]) == 2
    message = capsys.readouterr().err
    assert told in message
    assert message.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_missing_checkpoint(tmp_path, capsys):
    assert export(tmp_path / "nowhere.ckpt", "safetensors", tmp_path / "out") == 2
    assert "nowhere.ckpt' does not exist" in capsys.readouterr().err


def test_another_size_is_announced(run_dir, tmp_path, capsys):
    checkpoint = run_dir / "checkpoints" / "best.ckpt"
    assert export(checkpoint, "safetensors", tmp_path / "out", "--image_size", "48") == 0
    assert "5 image position embeddings were interpolated to 10" in capsys.readouterr().err
    assert clip_lightning.load(tmp_path / "out").model.pixels.size == 48
