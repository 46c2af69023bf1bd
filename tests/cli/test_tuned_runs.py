"""Runs whose towers are trained in special ways go on exactly like any other."""

import pytest
from killing import differences, fit

TUNED = [
    "--model.image_encoder", '{"class_path": "VisionTransformer", "init_args": {"image_size": 16, "patch_size": 4, '
    '"width": 8, "depth": 2, "num_heads": 2, "dropout": 0.1, "drop_path": 0.2, "patch_dropout": 0.5}}',
    "--model.image_tuning", '{"layer_decay": 0.7, "gradient_checkpointing": true}',
    "--model.text_lora", '{"rank": 2, "dropout": 0.1}',
]  # fmt: skip


@pytest.mark.slow
def test_a_killed_tuning_goes_on_exactly(tmp_path):
    assert fit(tmp_path / "whole", *TUNED) == 0
    assert fit(tmp_path / "run", *TUNED, kill=("update", 9)) == -9
    assert fit(tmp_path / "run", *TUNED) == 0
    assert differences(tmp_path / "whole", tmp_path / "run") == []
