"""Where a step's time goes, on clocks that the tests turn themselves, and what is said of it."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.profilers import PassThroughProfiler

from clip_lightning.batch import Batch
from clip_lightning.callbacks import throughput
from clip_lightning.callbacks.bottleneck import Circumstances, bottleneck
from clip_lightning.callbacks.clock import Clock
from clip_lightning.callbacks.step_times import StepTimes
from clip_lightning.callbacks.throughput import Throughput
from clip_lightning.models import CLIP, TextTransformer, VisionTransformer
from clip_lightning.models.cost import image_cost, text_cost, training_flops
from clip_lightning.models.peak import arithmetic_of, peak_flops
from clip_lightning.models.tuning import TowerTuning, prepare


class Hand(Clock):
    """A clock that a test turns."""

    def __init__(self):
        self.time = 0.0

    def now(self):
        return self.time


def run_step(times, clock, spent):
    """What Lightning tells a profiler of in a step whose parts take so long; between them, half a second goes by."""
    actions = [
        ("data", "[_TrainingEpochLoop].train_dataloader_next"),
        ("data", "[Strategy]DDPStrategy.batch_to_device"),
    ]
    inner = [("forward", "[LightningModule]Task.encode"), ("loss", "[LightningModule]Task.reduce")]
    inner += [("backward", "[Strategy]DDPStrategy.backward")]
    for part, action in actions:
        with times.profile(action):
            clock.time += spent[part] / 2
    with times.profile("run_training_batch"):
        for part, action in inner:
            with times.profile("[Callback]Other.on_before_backward"), times.profile(action):
                clock.time += spent[part]
        clock.time += spent["optimizer"]
    clock.time += 0.5


SPENT = {"data": 4.0, "forward": 1.0, "loss": 0.25, "backward": 2.0, "optimizer": 0.5}


def test_a_step_is_the_sum_of_its_parts():
    clock = Hand()
    times = StepTimes(PassThroughProfiler(), clock)
    run_step(times, clock, SPENT)
    # What a measurement does between two steps belongs to none of them.
    step = times.finish()
    with times.profile("[LightningModule]Task.encode"):
        clock.time += 100
    assert step.seconds() == {**SPENT, "other": 0.5}
    assert times.finish() is None


def test_the_trainers_own_profiler_hears_of_everything():
    heard = []
    inner = SimpleNamespace(
        start=lambda name: heard.append(("start", name)), stop=lambda name: heard.append(("stop", name))
    )
    with StepTimes(inner, Hand()).profile("anything"):
        heard.append("inside")
    assert heard == [("start", "anything"), "inside", ("stop", "anything")]


class Event:
    """A mark of a GPU that comes to it when a test says so."""

    times = iter(())
    reached = 0

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        self.time = next(Event.times)

    def query(self):
        return self.time <= Event.reached

    def elapsed_time(self, other):
        assert self.query()
        assert other.query(), "to read it now would wait"
        return 1e3 * (other.time - self.time)


@pytest.fixture
def logged():
    return []


@pytest.fixture
def trainer(logged):
    return SimpleNamespace(
        profiler=PassThroughProfiler(),
        is_global_zero=True,
        precision="bf16-mixed",
        log_every_n_steps=2,
        global_step=0,
        loggers=[SimpleNamespace(log_metrics=lambda values, step: logged.append((step, values)))],
        strategy=SimpleNamespace(root_device=torch.device("cpu"), model=None),
    )


def train(trainer, callback, steps, clock=None):
    rows = torch.arange(8)
    batch = Batch(rows, torch.zeros(8, 16), rows, rows, rows, rows)
    for _ in range(steps):
        run_step(trainer.profiler, clock or SimpleNamespace(time=0), SPENT)
        callback.on_before_optimizer_step(trainer, None, None)
        trainer.global_step += 1
        callback.on_train_batch_end(trainer, None, None, batch, 0)


def test_what_the_gpu_is_still_at_is_read_at_a_later_step(trainer, logged, monkeypatch):
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: None)
    # Twelve marks a step: begin and end of five actions, of the batch and of the step.
    Event.times, Event.reached = iter(map(float, range(1000))), 25
    callback = Throughput(num_workers=1, cpus=2, is_compiled=False)
    callback.on_train_start(trainer, SimpleNamespace(device=torch.device("cuda")))
    train(trainer, callback, 4)
    (step, values), *others = logged
    assert others == []
    Event.reached = 1000
    train(trainer, callback, 2)
    assert [step for step, _ in logged] == [step, 5]
    assert callback._all.steps == 5, "the first step is not counted"
    assert values["throughput/step_seconds"] == logged[1][1]["throughput/step_seconds"]


def test_speed_utilisation_and_the_line_at_the_end(trainer, logged, monkeypatch, capsys):
    clock = Hand()
    monkeypatch.setattr(throughput, "Clock", lambda _: clock)
    callback = Throughput(1, 2, is_compiled=False, peak=1000.0, flops=lambda tokens: 10.0 * tokens)
    task = SimpleNamespace(device=torch.device("cpu"), model=None, micro_batch_size=None)
    callback.on_train_start(trainer, task)
    train(trainer, callback, 4, clock)
    total = sum(SPENT.values()) + 0.5
    assert [step for step, _ in logged] == [1, 3]
    values = logged[-1][1]
    assert values["throughput/pairs_per_second"] == pytest.approx(8 / total)
    assert values["throughput/mfu"] == pytest.approx(8 * 160 / total / 1000)
    assert values["throughput/data_seconds"] == SPENT["data"]
    assert values["throughput/peak_memory_gib"] > 0.05
    callback.on_train_end(trainer, task)
    assert isinstance(trainer.profiler, PassThroughProfiler)
    speed, bound = capsys.readouterr().err.strip().splitlines()
    assert speed.startswith("speed       1 pairs/s on a device, 8,250.0 ms a step (data 48%, forward 12%")
    assert (
        bound == "bound by    waiting for data, 48% of a step; raise --data.num_workers from 1; `tune` finds the number"
    )


PLAIN = Circumstances(
    is_gpu=True,
    cpus=8,
    num_workers=8,
    precision="bf16-mixed",
    matmul_precision="highest",
    is_compiled=True,
    recomputes=False,
)


@pytest.mark.parametrize(
    ("seconds", "changed", "said"),
    [
        ({"data": 2, "backward": 8}, {}, "waiting for data, 20% of a step; 8 workers on 8 CPUs read no faster"),
        ({"data": 1, "forward": 3, "backward": 6}, {"precision": "32-true"}, "backward, 90% of a step; what may help"),
        ({"forward": 3, "backward": 7}, {"recomputes": True, "is_compiled": False}, "--compile true; fewer act"),
        ({"forward": 3, "backward": 7}, {"is_gpu": False, "is_compiled": False}, "a smaller model, or more devices"),
        ({"forward": 1, "backward": 1, "loss": 4}, {}, "the loss, 67% of a step"),
        ({"forward": 1, "backward": 1, "optimizer": 4}, {}, "the optimiser, 67% of a step"),
        ({"forward": 1, "backward": 1, "communication": 4}, {}, "communication, 67% of a step"),
        ({"forward": 1, "other": 4}, {}, "what surrounds a step, 80% of a step"),
    ],
)  # fmt: skip
def test_the_bottleneck_and_what_to_change(seconds, changed, said):
    assert said in bottleneck(seconds, dataclasses.replace(PLAIN, **changed))


@pytest.fixture
def model():
    image = VisionTransformer(image_size=32, patch_size=16, width=16, depth=2, num_heads=2)
    text = TextTransformer(context_length=20, vocab_size=50, width=16, depth=2, num_heads=2)
    return CLIP(image, text, embed_dim=8)


def test_a_step_has_three_times_the_operations_of_a_forward_pass(model):
    """But for the gradient of pixels, which nobody needs; and the fused attention computes its scores again."""
    before = torch.get_rng_state()
    flops = training_flops(model)
    for tokens in (3, 8, 20):
        forward = sum(part.flops for part in image_cost(model) + text_cost(model, tokens))
        of_pixels = 2 * 4 * (3 * 16 * 16) * 16
        assert flops(tokens) == pytest.approx(3 * forward - of_pixels, rel=0.03)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_locked_costs_a_forward_pass_and_what_is_done_again_counts_once(model):
    whole = training_flops(model)(8)
    prepare(model.text_encoder, TowerTuning(gradient_checkpointing=True))
    assert training_flops(model)(8) == whole
    assert "forward" in vars(model.text_encoder.blocks()[0]), "the tower is left as it was"
    model.image_encoder.requires_grad_(False)
    (encoder, _) = image_cost(model)
    assert whole - training_flops(model)(8) == pytest.approx(2 * encoder.flops, rel=0.3)


def test_of_a_tower_that_cannot_be_counted_nothing_is_said(model, monkeypatch):
    monkeypatch.setattr(VisionTransformer, "forward", lambda self, image: torch.from_numpy(image.numpy()))
    assert training_flops(model) is None


@pytest.mark.parametrize(
    ("name", "arithmetic", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", "half", 989.5e12),
        ("NVIDIA H100 PCIe", "half", 756.5e12),
        ("NVIDIA A100-SXM4-40GB", "tf32", 156e12),
        ("NVIDIA GeForce GTX 1080", "half", None),
    ],
)
def test_peaks_are_those_of_the_device_or_none(name, arithmetic, peak, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert peak_flops(torch.device("cuda"), arithmetic) == peak
    assert peak_flops(torch.device("cpu"), arithmetic) is None


def test_the_arithmetic_is_that_of_the_precision(monkeypatch):
    assert arithmetic_of("bf16-mixed") == arithmetic_of("16-true") == "half"
    assert arithmetic_of("32-true") == "fp32"
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    assert arithmetic_of("32-true") == "tf32"
