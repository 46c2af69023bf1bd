"""The gradient noise scale of the projections against gradients that are taken sample by sample."""

from types import SimpleNamespace

import pytest
import torch

from clip_lightning.batch import Batch
from clip_lightning.callbacks.gradient_noise import GradientNoise, noise_of
from clip_lightning.models import CLIP, TextTransformer, VisionTransformer
from clip_lightning.objectives import Contrastive, encode_in_micro_batches

PAIRS = 12


@pytest.fixture
def model():
    torch.manual_seed(3)
    image = VisionTransformer(image_size=16, patch_size=8, width=16, depth=1, num_heads=2)
    text = TextTransformer(context_length=8, vocab_size=20, width=16, depth=1, num_heads=2)
    return CLIP(image, text, embed_dim=8).double()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    rows = torch.arange(PAIRS)
    return Batch(
        image=torch.randint(0, 256, (PAIRS, 3, 16, 16), dtype=torch.uint8, generator=generator),
        text=torch.randint(1, 19, (PAIRS, 8), generator=generator),
        length=torch.full((PAIRS,), 8),
        key=torch.stack([rows] * 3, dim=1),
        image_id=rows,
        text_id=rows,
    )


def samples_gradients(model, batch):
    """Each pair's gradient for both projections, times the pairs, so that their mean is that of the batch."""
    kept = {}
    for name in ("image_projection", "text_projection"):
        getattr(model, name).register_forward_hook(lambda _, given, made, name=name: kept.update({name: (given, made)}))
    objective = Contrastive()
    loss = objective.reduce(model, objective.encode(model, batch))["loss"]
    rows = []
    for (given,), made in kept.values():
        (gradient,) = torch.autograd.grad(loss, made, retain_graph=True)
        rows.append(torch.einsum("no,ni->noi", gradient, given.detach()).flatten(1))
    return len(batch) * torch.cat(rows, dim=1)


def logged(model, batch, micro_batch_size=None):
    """What the callback logs of one step."""
    found = {}
    task = SimpleNamespace(model=model, device="cpu")
    logger = SimpleNamespace(
        log_metrics=lambda values, step: found.update({(step, name): values[name] for name in values})
    )
    trainer = SimpleNamespace(
        log_every_n_steps=1,
        global_step=7,
        world_size=1,
        precision_plugin=SimpleNamespace(scaler=None),
        loggers=[logger],
    )
    callback, objective = GradientNoise(len(batch)), Contrastive()
    callback.on_train_start(trainer, task)
    callback.on_train_batch_start(trainer, task, batch, 0)
    objective.reduce(model, encode_in_micro_batches(objective, model, batch, micro_batch_size))["loss"].backward()
    callback.on_before_optimizer_step(trainer, task, None)
    trainer.global_step += 1
    callback.on_train_batch_end(trainer, task, None, batch, 0)
    return found.get((7, "train/gradient_noise_scale")), callback


@pytest.mark.parametrize("micro_batch_size", [None, 5])
def test_it_is_the_variance_of_the_samples_over_the_square_of_their_mean(model, batch, micro_batch_size):
    rows = samples_gradients(model, batch)
    variance = rows.var(dim=0).sum()
    square = rows.mean(dim=0).square().sum() - variance / PAIRS
    model.zero_grad()
    found, callback = logged(model, batch, micro_batch_size)
    assert callback.state_dict()["averages"] == pytest.approx([variance.item(), square.item()], rel=1e-5)
    assert square > 0
    assert found == pytest.approx((variance / square).item(), rel=1e-4)


def test_what_is_not_known_is_no_point(model, batch, monkeypatch):
    monkeypatch.setattr(
        "clip_lightning.callbacks.gradient_noise.noise_of", lambda *_: torch.tensor([4.0, -1.0]).unbind()
    )
    found, callback = logged(model, batch)
    assert callback.state_dict()["averages"] == [4, -1]
    assert found is None


def test_both_parts_are_without_bias():
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(50, generator=generator)
    rows = mean + 3 * torch.randn(4000, 16, 50, generator=generator)
    variance, square = noise_of(rows.square().sum(2).mean(1), rows.mean(1).square().sum(1), 16)
    assert variance.mean().item() == pytest.approx(9 * 50, rel=0.01)
    assert square.mean().item() == pytest.approx(mean.square().sum().item(), rel=0.05)


def test_a_step_that_is_not_finite_leaves_the_averages_as_they_were(model, batch):
    _, callback = logged(model, batch)
    before = callback.state_dict()
    callback._squares = [torch.tensor(torch.nan)]
    trainer = SimpleNamespace(world_size=1)
    callback.on_before_optimizer_step(trainer, None, None)
    assert callback.state_dict() == before
    again = GradientNoise(PAIRS)
    again.load_state_dict(before)
    assert again.state_dict() == before


def test_nothing_is_watched_between_the_steps_that_are_logged(model, batch):
    callback = GradientNoise(PAIRS)
    trainer = SimpleNamespace(
        log_every_n_steps=10, global_step=3, world_size=1, precision_plugin=SimpleNamespace(scaler=None)
    )
    callback.on_train_start(trainer, SimpleNamespace(model=model, device="cpu"))
    callback.on_train_batch_start(trainer, None, batch, 3)
    assert not model.image_projection._forward_hooks
