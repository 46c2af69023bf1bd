"""A tuned model moved back towards its start, and tuned runs through the command line."""

from pathlib import Path

import pytest
import torch

from clip_lightning import load
from clip_lightning.__main__ import main
from clip_lightning.checkpoint import check_continuable, read_checkpoint

TINY = ["--config", str(Path(__file__).parents[1] / "conf" / "tiny.yaml"), "--trainer.max_epochs", "1"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run, one that is tuned from it, and one whose adapters are."""
    folder = tmp_path_factory.mktemp("runs")
    start = folder / "start" / "checkpoints" / "last.ckpt"
    tuned = [
        "--model.weights",
        str(start),
        "--model.optimizer",
        "torch.optim.SGD",
        "--model.optimizer.init_args.lr",
        "1",
    ]
    adapters = ["--model.image_lora.rank", "2", "--model.text_lora", '{"rank": 2}']
    for name, more in {"start": [], "tuned": tuned, "adapted": [*tuned, *adapters]}.items():
        assert main(["fit", *TINY, *more, "--run_dir", str(folder / name)]) == 0
    return {name: folder / name / "checkpoints" / "last.ckpt" for name in ("start", "tuned", "adapted")}


def interpolate(runs, output, *more, checkpoint="tuned"):
    command = ["interpolate", "--checkpoint", str(runs[checkpoint]), "--towards", str(runs["start"])]
    return main([*command, "--output", str(output), *map(str, more)])


def test_both_ends_are_exact_and_the_middle_is_the_mean(runs, tmp_path):
    assert interpolate(runs, tmp_path / "between", "--alpha", 0, 0.5, 1) == 0
    start, tuned = (read_checkpoint(runs[name])["state_dict"] for name in ("start", "tuned"))
    for alpha in (0, 0.5, 1):
        found = read_checkpoint(tmp_path / "between" / f"alpha-{alpha}.ckpt")["state_dict"]
        assert found.keys() == tuned.keys()
        for name, value in found.items():
            torch.testing.assert_close(value, (1 - alpha) * start[name] + alpha * tuned[name], rtol=0, atol=1e-6)
            assert alpha == 0.5 or torch.equal(value, (start if alpha == 0 else tuned)[name])
    assert not torch.equal(start["model.image_projection.weight"], tuned["model.image_projection.weight"])


def test_the_result_is_measured_by_the_run_and_no_training_goes_on_from_it(runs, tmp_path, capsys):
    assert interpolate(runs, tmp_path / "half.ckpt") == 0
    run = runs["tuned"].parents[1]
    assert main(["validate", "--run_dir", str(run), "--checkpoint", str(tmp_path / "half.ckpt")]) == 0
    assert "val/zero_shot/shape_scenes/accuracy" in capsys.readouterr().out
    half = read_checkpoint(tmp_path / "half.ckpt")
    assert half["clip_lightning"]["interpolated"]["alpha"] == 0.5
    with pytest.raises(ValueError, match="lacks the state of its optimiser"):
        check_continuable(half, "half.ckpt")


def test_adapters_are_merged_before(runs, tmp_path):
    assert interpolate(runs, tmp_path / "merged.ckpt", "--alpha", 1, checkpoint="adapted") == 0
    merged, adapted = load(tmp_path / "merged.ckpt"), load(runs["adapted"])
    assert merged.model.state_dict().keys() == load(runs["start"]).model.state_dict().keys()
    text = merged.tokenizer(["a red circle"])
    torch.testing.assert_close(merged.model.encode_text(text), adapted.model.encode_text(text), rtol=1e-4, atol=1e-5)
    weights = {name: read_checkpoint(runs[name])["state_dict"] for name in ("start", "adapted")}
    base = "model.image_encoder.layers.0.mlp.expand"
    assert torch.equal(weights["adapted"][f"{base}.base_layer.weight"], weights["start"][f"{base}.weight"])
    assert weights["adapted"][f"{base}.lora_B.default.weight"].any(), "the adapters were trained"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--alpha", "1.5"], "--alpha 1.5 is not between 0, the start, and 1"),
        (["--towards", "nowhere.ckpt"], "'nowhere.ckpt' does not exist"),
        (["--alpah", "1"], "did you mean --alpha"),
    ],
)
def test_a_mistake_is_told_and_nothing_written(runs, tmp_path, capsys, more, words):
    assert interpolate(runs, tmp_path / "x.ckpt", *more) == 2
    assert words in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_a_file_that_is_there_is_kept(runs, tmp_path, capsys):
    (tmp_path / "x.ckpt").write_text("mine")
    assert interpolate(runs, tmp_path / "x.ckpt") == 2
    assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "x.ckpt").read_text() == "mine"
