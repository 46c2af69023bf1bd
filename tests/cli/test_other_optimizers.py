"""Optimisers and schedules beside the defaults, through the command line."""

import pytest
import yaml
from killing import differences, fit

from clip_lightning.__main__ import main
from clip_lightning.checkpoint import read_checkpoint
from clip_lightning.task import CLIPTask

VIT = (
    '{class_path: VisionTransformer, init_args: {image_size: 16, patch_size: 4, width: 8, depth: 2, num_heads: 2, '
    'dropout: 0.1}}'
)  # fmt: skip
WAYS = {
    "half precision": [
        *("--model.optimizer", "{class_path: HalfPrecisionAdamW, init_args: {lr: 0.01, betas: [0.9, 0.98]}}"),
        *("--model.text_tuning", "{half_precision: true, gradient_checkpointing: true}"),
        *("--model.schedule", "{class_path: WarmupConstant, init_args: {warmup_steps: 2, cooldown_share: 0.4}}"),
    ],
    "Lion": [
        *("--model.optimizer", "{class_path: timm.optim.Lion, init_args: {lr: 0.002, weight_decay: 0.5}}"),
        *("--model.image_tuning", "{lr_factor: 0.5}"),
        *("--model.schedule", "{class_path: WarmupReciprocalSqrt, init_args: {warmup_steps: 2}}"),
    ],
    "Muon": [
        *("--model.optimizer", "{class_path: timm.optim.Muon, init_args: {lr: 0.01, weight_decay: 0.1}}"),
        *("--model.image_encoder", VIT, "--model.image_tuning", "{layer_decay: 0.7}"),
    ],
}
TINY = ["fit", "--config", "tests/conf/tiny.yaml", "--trainer.max_epochs", "1"]


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_killed_run_goes_on_exactly(tmp_path, way):
    assert fit(tmp_path / "whole", *WAYS[way]) == 0
    assert fit(tmp_path / "run", *WAYS[way], kill=("update", 9)) == -9
    assert fit(tmp_path / "run", *WAYS[way]) == 0
    assert differences(tmp_path / "whole", tmp_path / "run") == []


def test_half_precision_goes_on_exactly_and_is_in_the_checkpoint(tmp_path):
    arguments = [*WAYS["half precision"], "--trainer.max_epochs", "1", "--trainer.precision", "bf16-mixed"]
    assert fit(tmp_path / "whole", *arguments) == 0
    assert fit(tmp_path / "run", *arguments, kill=("update", 4)) == -9
    assert fit(tmp_path / "run", *arguments) == 0
    assert differences(tmp_path / "whole", tmp_path / "run") == []
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    weights = read_checkpoint(path)["state_dict"]
    halves = {name for name, tensor in weights.items() if str(tensor.dtype) == "torch.bfloat16"}
    assert halves == {name for name in weights if name.startswith("model.text_encoder.")}
    loaded = CLIPTask.load_from_checkpoint(path, allow_modules=["drawing_encoder"])
    assert {name for name, p in loaded.state_dict().items() if str(p.dtype) == "torch.bfloat16"} == halves


def test_a_warm_up_longer_than_the_training_is_told_of_at_its_start(tmp_path, capsys):
    assert main([*TINY, "--run_dir", str(tmp_path / "run"), "--model.schedule.warmup_steps", "50"]) == 0
    said = capsys.readouterr().out
    assert "schedule    the warm-up takes 50 steps, but training has 6" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.text_tuning.half_precision", "true"], "AdamW would lose updates"),
        (["--model.image_tuning.half_precision", "true"], "text_tuning.half_precision"),
        (["--model.optimizer.class_path", "torch.optim.Muon"], "timm.optim.Muon"),
        (["--model.optimizer.class_path", "no_such_package.optim.AdamW8bit"], "pip install no_such_package"),
        (
            ["--model.schedule", yaml.dump({"class_path": "WarmupConstant", "init_args": {"cooldown_share": 20}})],
            "cooldown_share 20.0 is not between 0 and 1",
        ),
        (["--model.schedule.class_path", "WarmupConstnat"], "WarmupConstant"),
    ],
)
def test_a_mistake_gets_one_message(arguments, message, tmp_path, capsys):
    assert main([*TINY, "--run_dir", str(tmp_path / "run"), *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
