"""Memory that does not suffice ends a run with one message: what the step takes, and what to lower first."""

import psutil
import pytest
import torch
from killing import DRAWING, fit

from clip_lightning.cli.compose import compose
from clip_lightning.cli.keys import KEYS
from clip_lightning.cli.memory import estimate, is_out_of_memory, what_to_lower
from clip_lightning.cli.training import DEFAULTS, build_cli
from clip_lightning.models import CLIP


@pytest.mark.parametrize("place", ["CPU", "GPU"])
def test_one_message_says_what_to_lower(tmp_path, monkeypatch, capfd, place):
    def exhaust(model, image):
        if place == "GPU":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return torch.empty(2**58)  # refused by the allocator itself

    monkeypatch.setattr(CLIP, "normalize", exhaust)
    assert fit(tmp_path / "run") == 2
    told = capfd.readouterr().err.strip().splitlines()
    assert len(told) == 1, told
    assert told[0].startswith("clip_lightning fit: out of memory on ")
    order = [
        told[0].index(word) for word in ("of 8 pairs at once", "micro_batch_size 4", "checkpointing", "bf16-mixed")
    ]
    assert order == sorted(order)


def test_what_is_lowered_already_is_not_advised_and_a_batch_that_is_far_too_large_falls_to_what_fits(tmp_path):
    blocks = ["--model.text_tuning.gradient_checkpointing", "true", "--trainer.precision", "bf16-mixed"]
    config, _ = compose(["--config", DRAWING, "--run_dir", str(tmp_path / "run"), *blocks], KEYS, DEFAULTS)
    cli = build_cli("fit", config)
    advice = what_to_lower(cli)
    assert (
        "Lower it, in this order, by model.micro_batch_size 4; model.image_tuning.gradient_checkpointing true;"
        in advice
    )
    cli.datamodule.batch_size = 2**50
    fixed, each = estimate(cli.model)
    size = int(what_to_lower(cli).partition("micro_batch_size ")[2].partition(";")[0])
    assert 0.9 < (fixed + size * each) / psutil.virtual_memory().total <= 1


def test_other_errors_are_not_taken_for_it():
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
