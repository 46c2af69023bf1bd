"""What the task does beside the steps that the runs through the command line show."""

import pytest
from lightning.pytorch import LightningModule

from clip_lightning.models import TextTransformer, VisionTransformer
from clip_lightning.objectives import Contrastive
from clip_lightning.task import CLIPTask
from clip_lightning.text import BPETokenizer


class Words:
    def captions(self):
        return iter(["a red circle", "a blue square"])


@pytest.mark.parametrize(("objective", "limit"), [(None, 100.0), (Contrastive(max_scale=15.0), 15.0)])
def test_the_temperature_is_capped_after_each_step(objective, limit, monkeypatch):
    tokenizer = BPETokenizer(vocab_size=270, context_length=8, corpus=Words())
    task = CLIPTask(
        VisionTransformer(image_size=16, patch_size=8, width=16, depth=1, num_heads=2),
        TextTransformer(context_length=8, vocab_size=tokenizer.vocab_size, width=16, depth=1, num_heads=2),
        tokenizer,
        objective,
        embed_dim=8,
    )

    def step(task, *_):
        task.model.logit_scale.data.fill_(9.0)

    monkeypatch.setattr(LightningModule, "optimizer_step", step)
    task.optimizer_step()
    assert task.model.logit_scale.exp().item() == pytest.approx(limit)
