"""Memory that does not suffice ends a run with one message: what the step takes, and what to lower first."""

import pytest
import torch
from killing import fit

from clip_lightning.cli.memory import is_out_of_memory
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


def test_other_errors_are_not_taken_for_it():
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
