"""What the averages are, what computing them takes, and which weights a task holds when."""

from collections import Counter

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from clip_lightning.callbacks import WeightAverages
from clip_lightning.callbacks.averaging import decay_at


class Small(LightningModule):
    """A tied, a resting and two normal weights, running statistics, and a count."""

    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)
        self.again = nn.Linear(3, 4)
        self.again.weight = self.first.weight
        self.last.bias.requires_grad_(False)
        self.holds, self.measured = "raw", []
        self.to(dtype)

    def forward(self, x):
        return self.last(self.norm(self.first(x) + self.again(x)))

    def training_step(self, batch, index):
        return self(batch).pow(2).mean()

    def validation_step(self, batch, index):
        self.measured.append((self.holds, self.first.weight.detach().clone()))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Watch(Callback):
    """Keeps the weights and the averages after each batch."""

    def __init__(self, averages):
        self.averages, self.steps, self.raw, self.mean = averages, [], [], []

    def on_train_start(self, trainer, module):
        self.take(trainer, module)

    def on_train_batch_end(self, trainer, module, *_):
        self.take(trainer, module)

    def take(self, trainer, module):
        self.steps.append(trainer.global_step)
        self.raw.append({name: tensor.detach().clone() for name, tensor in module.state_dict().items()})
        self.mean.append({name: tensor.clone() for name, tensor in self.averages.by_name.items()})


def train(decay, batches=6, module=None, **options):
    module = module or Small()
    averages = WeightAverages(decay)
    watch = Watch(averages)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 1}
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[averages, watch], **quiet, **options
    )
    data = torch.randn(batches, 8, 3, dtype=module.first.weight.dtype)
    trainer.fit(module, *(DataLoader(part, batch_size=None) for part in (data, data[:2])))
    return module, watch


@pytest.mark.parametrize("accumulated", [1, 2])
@pytest.mark.parametrize("decay", [0.3, 0.9999])
def test_averages_are_those_of_the_formula_at_each_optimiser_step(decay, accumulated):
    _, watch = train(decay, max_epochs=2, accumulate_grad_batches=accumulated)
    assert max(watch.steps) == 12 / accumulated
    expected = {name: tensor.double() for name, tensor in watch.raw[0].items()}
    for before, step, raw, mean in zip(watch.steps, watch.steps[1:], watch.raw[1:], watch.mean[1:], strict=False):
        assert step in (before, before + 1)
        kept = min(decay, (1 + step) / (10 + step)) if step > before else 1.0
        expected = {name: kept * old + (1 - kept) * raw[name].double() for name, old in expected.items()}
        for name, tensor in mean.items():
            torch.testing.assert_close(tensor.double(), expected[name], rtol=0, atol=1e-6)
    assert (watch.mean[-1]["first.weight"] - watch.raw[-1]["first.weight"]).abs().max() > 1e-4


def test_what_is_trained_and_running_statistics_are_averaged_and_nothing_else():
    _, watch = train(0.9, max_epochs=1)
    assert set(watch.mean[-1]) == {
        *("first.weight", "first.bias", "again.weight", "again.bias", "last.weight"),
        *("norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"),
    }


def test_validation_measures_both_on_the_same_batches_and_training_goes_on_with_the_raw_ones():
    module, watch = train(0.9, max_epochs=1, limit_train_batches=4)
    kinds = [kind for kind, _ in module.measured]
    assert kinds == ["raw"] + 2 * ["raw", "averaged"], "the first is the sanity check, before there are averages"
    for kind, weight in module.measured[1:]:
        assert torch.equal(weight, (watch.raw if kind == "raw" else watch.mean)[-1]["first.weight"])
    torch.manual_seed(0)
    alone, _ = train(None, max_epochs=1, limit_train_batches=4)
    torch.manual_seed(0)
    averaged, _ = train(0.9, max_epochs=1, limit_train_batches=4)
    assert all(map(torch.equal, averaged.state_dict().values(), alone.state_dict().values()))


def test_a_tied_weight_is_swapped_once_and_back_and_survives_an_error():
    module, averages = Small(), WeightAverages(0.9)
    averages.on_train_start(type("Trainer", (), {"global_step": 0})(), module)
    begin = module.first.weight.detach().clone()
    with torch.no_grad():
        module.first.weight += 1

    def measure():
        with averages.applied(module):
            assert module.holds == "averaged"
            assert torch.equal(module.first.weight, begin)
            assert module.again.weight is module.first.weight
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        measure()
    assert module.holds == "raw"
    assert torch.equal(module.first.weight, begin + 1)


def test_half_precision_weights_have_averages_that_take_small_steps():
    module, averages = Small(torch.bfloat16), WeightAverages(0.9999)
    trainer = type("Trainer", (), {"global_step": 1_000_000})()
    averages.on_train_start(trainer, module)
    begin = averages.by_name["first.weight"].clone()
    with torch.no_grad():
        module.first.weight += 1
    moved = (module.first.weight - begin).clone()
    trainer.global_step += 1
    averages.on_train_batch_end(trainer, module, None, None, 0)
    torch.testing.assert_close(averages.by_name["first.weight"] - begin, 1e-4 * moved, rtol=1e-2, atol=1e-7)


class Operations(TorchDispatchMode):
    """Counts what is asked of the device."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.counts[function.name()] += 1
        return function(*args, **(kwargs or {}))


def test_an_update_is_one_operation_that_waits_for_nothing():
    module, averages = Small(), WeightAverages(0.9)
    trainer = type("Trainer", (), {"global_step": 0})()
    averages.on_train_start(trainer, module)
    trainer.global_step = 1
    with Operations() as found:
        averages.on_train_batch_end(trainer, module, None, None, 0)
        averages.on_train_batch_end(trainer, module, None, None, 1)  # of the same optimiser step
    assert {name for name in found.counts if name != "aten::detach"} == {"aten::_foreach_lerp_.Scalar"}
    assert found.counts["aten::_foreach_lerp_.Scalar"] == 1


def test_the_decay_warms_up_to_what_is_asked_for():
    assert [decay_at(step, 0.99) for step in (1, 8, 1000)] == [2 / 11, 0.5, 0.99]


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_decay_that_makes_no_average_is_refused(decay):
    with pytest.raises(ValueError, match=f"averaging.decay {decay} is not between 0 and 1"):
        WeightAverages(decay)


def test_weights_that_are_split_over_processes_are_refused():
    trainer = type("Trainer", (), {"strategy": object()})()
    with pytest.raises(ValueError, match="needs whole weights on each process, which object splits; give"):
        WeightAverages(0.9).setup(trainer, None, "fit")
    WeightAverages(None).setup(trainer, None, "fit")
