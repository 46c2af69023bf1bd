"""Learning from a teacher: the dense formula, any number of processes and parts, and what becomes of the teacher."""

import math

import open_clip.loss
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from dense import embeds, numbers, value_and_gradients
from small_pairs import small_batch, small_model
from torch import nn

from clip_lightning.objectives import Contrastive, Distillation, Teacher, distillation_loss, encode_in_micro_batches
from clip_lightning.spec import spec_of

PAIRS = 12


class Small(Teacher):
    """A model of other weights and another temperature, with the vocabulary of ours."""

    scale = 30.0

    def __init__(self):
        self.model, self.asked = small_model(seed=8), 0

    pixels = property(lambda self: self.model.pixels)
    tokenizer = property(lambda self: "its own")

    @torch.no_grad()
    def embeds(self, batch):
        self.asked += len(batch)
        rows = self.model(self.model.normalize(batch.image), batch.text, batch.length)
        return tuple(F.normalize(part, dim=1) for part in rows)


def dense(image, text, scale, teacher_image, teacher_text, teacher_scale):
    """All logits at once, by torch's divergence."""
    logits, wanted = scale * image @ text.T, teacher_scale * teacher_image @ teacher_text.T
    rows, columns = (
        F.kl_div(own.log_softmax(1), other.log_softmax(1), reduction="batchmean", log_target=True)
        for own, other in ((logits, wanted), (logits.T, wanted.T))
    )
    return (rows + columns) / 2


def inputs(n=11):
    return embeds(n, seed=1), embeds(n, seed=2), *numbers(9.0)


def of_teacher(n=11):
    return embeds(n, 5, seed=3), embeds(n, 5, seed=4), 20.0


@pytest.mark.parametrize("tile_size", [1, 3, 4, 11, 1024])
def test_fp64_is_the_dense_formula(tile_size):
    mine = value_and_gradients(lambda *own: distillation_loss(*own, *of_teacher(), tile_size=tile_size), *inputs())
    for found, expected in zip(
        mine, value_and_gradients(lambda *own: dense(*own, *of_teacher()), *inputs()), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


def test_the_gradient_is_open_clips():
    """Its loss is the cross-entropy, which has the teacher's entropy in it."""
    image, text, scale = inputs()
    teacher_image, teacher_text, teacher_scale = of_teacher()

    def theirs(*own):
        return open_clip.loss.DistillClipLoss()(*own, teacher_image, teacher_text, torch.tensor(teacher_scale))[1]

    mine = value_and_gradients(lambda *own: distillation_loss(*own, *of_teacher()), image, text, scale)
    for found, expected in zip(mine[1:], value_and_gradients(theirs, image, text, scale)[1:], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_half_precision_is_computed_in_fp32(dtype):
    image, text, scale = inputs(100)
    image, text, scale = image.to(dtype), text.to(dtype), scale.float()
    mine = value_and_gradients(lambda *own: distillation_loss(*own, *of_teacher(100), tile_size=32), image, text, scale)
    exact = value_and_gradients(lambda *own: dense(*own, *of_teacher(100)), image.double(), text.double(), scale)
    assert [tensor.dtype for tensor in mine] == [torch.float32, dtype, dtype, torch.float32]
    rounding = 1e-5 if dtype == torch.float32 else 5e-3
    for found, expected in zip(mine, exact, strict=True):
        assert (found - expected).norm() <= rounding * expected.norm()


def test_who_agrees_with_the_teacher_has_nothing_to_learn():
    image, text, _ = inputs()
    loss, *gradients = value_and_gradients(
        lambda *own: distillation_loss(*own, image, text, 7.0), image, text, *numbers(7.0)
    )
    assert loss.item() == pytest.approx(0, abs=1e-14)
    assert all(gradient.abs().max() < 1e-14 for gradient in gradients)


def test_nothing_of_the_logits_is_kept_and_it_is_differentiated_once():
    n = 300
    image, text, scale = (tensor.requires_grad_() for tensor in inputs(n))
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: sizes.append(tensor.numel()) or tensor, lambda x: x):
        loss = distillation_loss(image, text, scale, *of_teacher(n), tile_size=32)
    assert max(sizes) <= n * 8
    with pytest.raises(RuntimeError, match="can be differentiated once"):
        torch.autograd.grad(loss, image, create_graph=True)


def learned(weight=0.3, exchange="gather"):
    model, objective = small_model(), Distillation(Small(), weight, exchange=exchange)
    objective.setup(model)
    return model, objective


def seen(n=PAIRS):
    batch = small_batch(n)
    batch.views["teacher"] = small_batch(n, seed=5)
    return batch


def gradients(model, loss):
    return torch.autograd.grad(loss, [*model.parameters()])


def test_both_losses_are_weighted_and_reported():
    model, objective = learned()
    reduced = objective.reduce(model, objective.encode(model, seen()))
    assert set(reduced) == {*objective.reports, "pairs"}
    plain = Contrastive().reduce(model, Contrastive().encode(model, seen()))
    torch.testing.assert_close(reduced["contrastive_loss"], plain["loss"])
    features = model(model.normalize(seen().image), seen().text, seen().length)
    image, text = (F.normalize(part, dim=1) for part in features)
    teacher = objective.teacher.embeds(seen().views["teacher"])
    expected = 0.7 * plain["loss"] + 0.3 * dense(image, text, model.logit_scale.exp(), *teacher, Small.scale)
    torch.testing.assert_close(reduced["loss"], expected, rtol=1e-12, atol=0)
    for mine, theirs in zip(gradients(model, reduced["loss"]), gradients(model, expected), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-14)


def test_parts_of_a_batch_have_the_loss_and_gradients_of_the_whole():
    model, objective = learned()
    found = []
    for size in (None, 5):
        loss = objective.reduce(model, encode_in_micro_batches(objective, model, seen(), size))["loss"]
        found.append((loss, *gradients(model, loss)))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-14)


def one_of_two(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    found = {}
    for exchange in ("gather", "ring"):
        step = nn.parallel.DistributedDataParallel(_Step(*learned(exchange=exchange)))
        loss = step(seen().split(PAIRS // 2)[rank])
        loss.backward()
        with torch.no_grad():
            held_out = step.module(seen().split(7)[rank])
        found[exchange] = [loss.detach(), held_out, [parameter.grad for parameter in step.parameters()]]
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


class _Step(nn.Module):
    """What Lightning hands to a strategy; the teacher is no part of it."""

    def __init__(self, model, objective):
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, batch):
        return self.objective.reduce(self.model, encode_in_micro_batches(self.objective, self.model, batch, 4))["loss"]


def test_processes_have_the_loss_and_gradients_of_one(tmp_path):
    torch.multiprocessing.spawn(one_of_two, (str(tmp_path),), nprocs=2)
    model, objective = learned()
    loss = objective.reduce(model, objective.encode(model, seen()))["loss"]
    expected = gradients(model, loss)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for exchange in ("gather", "ring"):
            mine, held_out, theirs = found[exchange]
            torch.testing.assert_close((mine, held_out), (loss.detach(), loss.detach()), rtol=1e-12, atol=0)
            for one, other in zip(theirs, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-14)


def test_the_teacher_is_no_part_of_what_is_trained_or_stored():
    model, objective = learned()
    assert [*objective.parameters()] == [*objective.state_dict()] == [*objective.modules()][1:] == []
    assert spec_of(objective)["init_args"]["teacher"] == {
        "class_path": f"{Small.__module__}.Small",
        "init_args": {},
    }
    before = [parameter.clone() for parameter in objective.teacher.model.parameters()]
    objective.reduce(model, objective.encode(model, seen()))["loss"].backward()
    after = [*objective.teacher.model.parameters()]
    assert all(torch.equal(one, other) and other.grad is None for one, other in zip(before, after, strict=True))
    assert objective.views() == {"teacher": (objective.teacher.pixels, "its own")}
    assert objective.chance_loss(16) is None


@pytest.mark.parametrize("weight", [0, -0.1, 1.1, math.nan])
def test_a_weight_that_makes_no_sense_is_refused(weight):
    with pytest.raises(ValueError, match=f"weight {weight} is no share"):
        Distillation(Small(), weight)
