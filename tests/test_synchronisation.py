"""A training step never waits for the device: it reads no value there, and its data arrive beside it."""

import contextlib
import copy

import pytest
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from lightning.pytorch import Callback, Trainer
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader
from torch.utils.data._utils.pin_memory import pin_memory

from clip_lightning.batch import Batch
from clip_lightning.callbacks import (
    BatchStatistics,
    EpochAverages,
    GradientNoise,
    Guards,
    Health,
    Progress,
    RandomStates,
    Throughput,
)
from clip_lightning.callbacks.late_reading import LateReading
from clip_lightning.models import ModifiedResNet, TextTransformer, VisionTransformer
from clip_lightning.task import CLIPTask
from clip_lightning.text import BPETokenizer

aten = torch.ops.aten
READING = {
    op
    for packet in (aten._local_scalar_dense, aten.nonzero, aten.equal, aten.masked_select, aten.is_nonzero)
    for op in (getattr(packet, name) for name in packet.overloads())
}
"""What has to know values or sizes that only the device knows."""


class Words:
    def captions(self):
        return iter(["a red circle", "a blue square"])


def make_batch(size=6, *, views=()):
    rows = torch.arange(size)
    return Batch(
        image=torch.randint(0, 256, (size, 3, 32, 32), dtype=torch.uint8),
        text=torch.randint(1, 200, (size, 8)),
        length=torch.full((size,), 5),
        key=torch.stack([rows] * 3, dim=1),
        image_id=rows,
        text_id=rows // 2,
        views={name: make_batch(size) for name in views},
    )


def make_task(tower="vit", **settings):
    tokenizer = BPETokenizer(vocab_size=270, context_length=8, corpus=Words())
    image = {
        "vit": lambda: VisionTransformer(image_size=32, patch_size=16, width=16, depth=1, num_heads=2, dropout=0.1),
        "resnet": lambda: ModifiedResNet(image_size=32, blocks=[1, 1, 1, 1], output_dim=8, width=4, num_heads=2),
    }[tower]()
    text = TextTransformer(context_length=8, vocab_size=tokenizer.vocab_size, width=16, depth=1, num_heads=2)
    return CLIPTask(image, text, tokenizer, embed_dim=8, image_projection=tower == "vit", **settings)


class Readings(TorchDispatchMode):
    """Counts values that are read from tensors, but for those that Python made and so knows already."""

    def __init__(self):
        super().__init__()
        self.count = 0
        self.is_on = False
        self._known = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func is aten.lift_fresh.default:
            self._known.append(result)
        elif func in READING and self.is_on:
            self.count += not any(args[0] is known for known in self._known)
        return result


@pytest.mark.parametrize("tower", ["vit", "resnet"])
@pytest.mark.parametrize("settings", [{}, {"micro_batch_size": 4}], ids=["at_once", "micro_batches"])
def test_a_step_reads_no_value(tower, settings, tmp_path, monkeypatch):
    # On a GPU it reads what the device came to two steps ago.
    monkeypatch.setattr(LateReading, "exchange", lambda *_: 0)
    task, readings = make_task(tower, **settings), Readings()
    steps = []

    class Watch(Callback):
        def on_train_batch_start(self, trainer, *_):
            readings.is_on = trainer.global_step > 0  # The first step's loss is logged.

    class End(Callback):
        def on_train_batch_end(self, *_):
            readings.is_on = False
            steps.append(readings.count)

    standing = [Guards(), BatchStatistics(), RandomStates(), EpochAverages(), GradientNoise(6), Health()]
    standing += [Progress("val/loss"), Throughput(num_workers=0, cpus=1, is_compiled=False)]
    trainer = Trainer(
        accelerator="cpu",
        max_steps=4,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=100,
        gradient_clip_val=1.0,
        default_root_dir=tmp_path,
        callbacks=[Watch(), *standing, End()],
    )
    loader = DataLoader([make_batch() for _ in range(4)], batch_size=None, collate_fn=lambda batch: batch)
    with readings:
        trainer.fit(task, loader)
        readings.is_on = True
        _ = task.model.logit_scale.item()
    assert steps == [0] * 4
    assert readings.count == 1, "a value that is read must be seen"


def test_the_loss_and_its_gradients_need_no_values(monkeypatch):
    """On the meta device there are none, so whatever asked for one would fail."""
    # Mixed precision is not to be had there.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    task = make_task().to("meta")
    batch = move_data_to_device(make_batch(), torch.device("meta"))
    loss = task.objective.reduce(task.model, task.objective.encode(task.model, batch))["loss"]
    loss.backward()
    task.model.cap_logit_scale_()
    assert loss.device.type == "meta"
    assert all(parameter.grad is not None for parameter in task.parameters())


def test_a_loader_pins_all_of_a_batch(monkeypatch):
    pinned = []

    def pin(tensor):
        pinned.append(tensor.clone())
        return pinned[-1]

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    batch, damage = make_batch(views=["teacher"]), {"a: broken": [(0, 1)]}
    found, found_damage = pin_memory((batch, copy.deepcopy(damage)))
    assert found_damage == damage
    names = ["image", "text", "length", "key", "image_id", "text_id"]
    for mine, its in ((batch, found), (batch.views["teacher"], found.views["teacher"])):
        for name in names:
            assert any(getattr(its, name) is tensor for tensor in pinned), name
            assert torch.equal(getattr(mine, name), getattr(its, name))
    assert len(pinned) == 2 * len(names)


class Transfers(TorchFunctionMode):
    """Notes how tensors are sent."""

    def __init__(self):
        super().__init__()
        self.waits = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.to:
            self.waits.append(not (kwargs or {}).get("non_blocking", False))
        return func(*args, **(kwargs or {}))


def test_all_of_a_batch_goes_to_the_device_without_waiting():
    batch = make_batch(views=["teacher"])
    with Transfers() as transfers:
        moved = make_task().transfer_batch_to_device(batch, torch.device("meta"), 0)
    for one in (moved, moved.views["teacher"]):
        assert {getattr(one, name).device.type for name in one._tensors()} == {"meta"}
    assert transfers.waits == [False] * 12
    assert batch.image.device.type == "cpu"
