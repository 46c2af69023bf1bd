"""Batches encoded in parts: the gradients of the whole, the random numbers of the first pass, the memory of a part."""

import copy

import pytest
import torch
import torch.distributed as dist
from torch import nn

from clip_lightning.batch import Batch
from clip_lightning.models import CLIP, ModifiedResNet, TextTransformer, TowerTuning, VisionTransformer
from clip_lightning.models.tuning import prepare
from clip_lightning.objectives import Contrastive, encode_in_micro_batches

PAIRS = 12


def model_of(kind="vit", dropout=0.0, dtype=torch.float64):
    torch.manual_seed(3)
    image = {
        "vit": lambda: VisionTransformer(
            16, 4, 16, 2, 2, dropout=dropout, drop_path=dropout, patch_dropout=dropout and 0.5
        ),
        "resnet": lambda: ModifiedResNet(32, (1, 1), output_dim=16, width=8),
    }[kind]()
    text = TextTransformer(8, 20, 16, 2, 2, dropout=dropout, drop_path=dropout)
    model = CLIP(image, text, embed_dim=8).to(dtype).train()
    with torch.no_grad():  # a fresh ResNet closes its branches by gains of zero
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return model


def batch_for(model, n=PAIRS):
    generator = torch.Generator().manual_seed(0)
    size = model.pixels.size
    text = torch.randint(1, 18, (n, 8), generator=generator)
    text[:, -1] = 19
    return Batch(
        image=torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=generator),
        text=text,
        length=torch.full((n,), 8),
        key=torch.arange(3 * n).view(n, 3),
        image_id=torch.arange(n),
        text_id=torch.tensor([0, 0, *range(2, n)]),
    )


def in_plain_parts(objective, model, batch, size):
    """The same parts, with all their activations kept."""
    encoded = [objective.encode(model, part) for part in batch.split(size)]
    return {name: torch.cat([rows[name] for rows in encoded]) for name in encoded[0]}


def step(model, batch, size, encode=encode_in_micro_batches):
    """Loss and gradients of one step, from the same random state."""
    torch.manual_seed(7)
    objective = Contrastive()
    loss = objective.reduce(model, encode(objective, model, batch, size))["loss"]
    loss.backward()
    return loss.detach(), [parameter.grad for parameter in model.parameters()]


def assert_equal_states(one, other):
    for (name, left), (_, right) in zip(one.named_buffers(), other.named_buffers(), strict=True):
        assert torch.equal(left, right), name


@pytest.mark.parametrize("size", [1, 4, 5, 6, 11, 12, 40])
def test_the_gradient_is_that_of_the_undivided_batch(size):
    model, divided = model_of(), model_of()
    loss, expected = step(model, batch_for(model), None)
    found_loss, found = step(divided, batch_for(divided), size)
    torch.testing.assert_close(found_loss, loss, rtol=1e-12, atol=0)
    largest = max(gradient.norm() for gradient in expected)
    assert max((a - b).norm() for a, b in zip(found, expected, strict=True)) < 1e-12 * largest


@pytest.mark.parametrize("precision", ["fp64", "bf16 autocast"])
@pytest.mark.parametrize("size", [4, 5])
def test_dropped_units_paths_and_patches_are_the_same_in_the_second_pass(size, precision):
    dtype = torch.float64 if precision == "fp64" else torch.float32
    kept, again = model_of(dropout=0.3, dtype=dtype), model_of(dropout=0.3, dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision != "fp64"):
        loss, expected = step(kept, batch_for(kept), size, in_plain_parts)
        found_loss, found = step(again, batch_for(again), size)
    assert torch.equal(found_loss, loss)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    whole = step(model_of(dropout=0.3, dtype=dtype), batch_for(kept), None)[0]
    assert not torch.equal(whole, loss), "the whole batch draws in another order"


@pytest.mark.parametrize("tuning", [TowerTuning(), TowerTuning(gradient_checkpointing=True)])
@pytest.mark.parametrize("size", [4, 5])
def test_running_statistics_note_each_image_once(size, tuning):
    kept, again = model_of("resnet"), model_of("resnet")
    prepare(again.image_encoder, tuning)
    _, expected = step(kept, batch_for(kept), size, in_plain_parts)
    _, found = step(again, batch_for(again), size)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert_equal_states(again, kept)
    (count, *_) = (norm.num_batches_tracked for norm in again.modules() if isinstance(norm, nn.BatchNorm2d))
    assert count == 3


def test_a_locked_tower_keeps_its_statistics_and_needs_no_second_pass_for_a_gradient():
    model = model_of("resnet")
    model.image_encoder.requires_grad_(False)
    before = copy.deepcopy(model.train())
    _, gradients = step(model, batch_for(model), 5)
    assert_equal_states(model, before)
    assert sum(gradient is not None for gradient in gradients) == sum(p.requires_grad for p in model.parameters())


def kept_bytes(n, size):
    """Bytes that a forward pass keeps for the backward pass, beside the parameters and the batch itself."""
    model = model_of()
    batch, storages = batch_for(model, n), {}
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), batch.image, batch.text)}

    def keep(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        encoded = encode_in_micro_batches(Contrastive(), model, batch, size)
    del storages_of_own(storages, own)[:]
    assert len(encoded["image_features"]) == n
    return sum(storages.values())


def storages_of_own(storages, own):
    return [storages.pop(pointer, 0) for pointer in own]


def test_what_is_kept_does_not_grow_with_the_batch():
    assert kept_bytes(32, None) > 3.5 * kept_bytes(8, None)
    assert kept_bytes(32, 8) <= 1.05 * kept_bytes(8, None)


def test_without_gradients_rows_are_those_of_the_parts():
    model = model_of("resnet").eval()
    batch, objective = batch_for(model), Contrastive()
    with torch.no_grad():
        found = encode_in_micro_batches(objective, model, batch, 5)
        expected = objective.encode(model, batch)
    for name, rows in expected.items():
        torch.testing.assert_close(found[name], rows, rtol=1e-12, atol=1e-12)


def test_a_batch_is_split_with_its_views():
    model = model_of()
    batch = batch_for(model, 7)
    batch.views["teacher"] = batch_for(model, 7)
    parts = batch.split(3)
    assert [len(part) for part in parts] == [3, 2, 2]
    for one in (lambda part: part, lambda part: part.views["teacher"]):
        assert torch.equal(torch.cat([one(part).key for part in parts]), batch.key)
        assert torch.equal(torch.cat([one(part).image for part in parts]), one(batch).image)


def one_of_two(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    model = nn.parallel.DistributedDataParallel(_Step(model_of(), 2))
    model(batch_for(model.module.model).split(PAIRS // 2)[rank]).backward()
    torch.save([parameter.grad for parameter in model.parameters()], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


class _Step(nn.Module):
    """What Lightning hands to a strategy: the whole step, parts and all."""

    def __init__(self, model, size):
        super().__init__()
        self.model, self.size = model, size

    def forward(self, batch):
        objective = Contrastive()
        return objective.reduce(self.model, encode_in_micro_batches(objective, self.model, batch, self.size))["loss"]


def test_two_processes_have_the_gradients_of_one_undivided_batch(tmp_path):
    torch.multiprocessing.spawn(one_of_two, (str(tmp_path),), nprocs=2)
    model = model_of()
    _, expected = step(model, batch_for(model), None)
    largest = max(gradient.norm() for gradient in expected)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert max((a - b).norm() for a, b in zip(found, expected, strict=True)) < 1e-12 * largest
