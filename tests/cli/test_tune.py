"""What fits into memory and what feeds a step, by the real command line, and on devices that the tests feign."""

from types import SimpleNamespace

import pytest
import torch
import yaml

from clip_lightning.__main__ import main
from clip_lightning.cli import trial, tune
from clip_lightning.cli.trial import Trial

TINY = "tests/conf/tiny.yaml"


@pytest.fixture(autouse=True)
def _hasty(monkeypatch):
    monkeypatch.setattr(tune, "SECONDS", 0.01)


def test_the_lines_are_a_configuration_and_nothing_is_left_behind(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(tune, "own_cpus", lambda processes: 1)
    monkeypatch.setenv("CLIP_LIGHTNING_RUN_DIR", "")
    assert main(["tune", "--config", TINY, "--trainer.devices", "2", "--run_dir", str(tmp_path / "run")]) == 0
    tables, lines = capsys.readouterr().out.split("put into the configuration:")
    assert "16 pairs, 8 of them in this process" in tables
    sizes, workers = (table.splitlines() for table in tables.split("step        ")[1].split("\n\n")[1:3])
    assert [int(line.split()[0]) for line in sizes[1:]] == [4, 8]
    assert int(workers[1].split()[0]) == 0
    config = yaml.safe_load(lines)
    assert config["model"] == {"micro_batch_size": None}, "half of a batch is no trouble"
    assert config["data"]["num_workers"] in (0, 1)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "found.yaml").write_text(lines)
    assert main(["fit", "--config", TINY, "--config", str(tmp_path / "found.yaml"), "--print_config"]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config", TINY, "--model.micro_batch", "3"], ["micro_batch"]),
        (["--config", TINY, "--trainer.devices", "3"], ["batch_size 16", "3 processes"]),
        (["somewhere.yaml"], ["somewhere.yaml"]),
        (["--config", "nowhere.yaml"], ["nowhere.yaml"]),
    ],
)
def test_a_mistake_gets_one_message(arguments, words, capsys):
    assert main(["tune", *arguments]) == 2
    (message,) = capsys.readouterr().err.strip().splitlines()
    assert all(word in message for word in words)


class Device:
    """A device on which each pair takes a MiB, and some more for what there is anyway."""

    def __init__(self, kind, mebibytes):
        self.device = torch.device(kind)
        self.available = mebibytes * 2**20
        self.taken = []

    def take(self, pairs, size):
        self.taken.append((pairs, size))
        memory = (size + 10) * 2**20
        if self.device.type == "cuda" and memory > self.available:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return Trial(size, memory, 100.0 + size)


def test_a_gpu_is_tried_until_it_refuses(capsys):
    device = Device("cuda", 100)
    fits = list(tune.try_sizes(device, 256))
    assert device.taken == [(256, size) for size in (4, 8, 16, 32, 64, 128)]
    assert [fit.fits for fit in fits] == [True] * 5 + [False]
    assert capsys.readouterr().out.splitlines()[-1].split() == [
        "128",
        "too",
        "much",
        "not",
        "tried",
        "does",
        "not",
        "fit",
    ]


def test_on_the_cpu_nothing_is_tried_that_might_not_fit(capsys):
    device = Device("cpu", 300)
    *fits, last = tune.try_sizes(device, 1024)
    assert device.taken == [(2 * size, size) for size in (4, 8, 16, 32, 64)]
    assert [fit.size for fit in fits if fit.fits] == [4, 8, 16, 32, 64, 128, 256]
    assert not last.fits
    assert last.memory == pytest.approx((512 + 10) * 2**20), "memory grows by so much a pair"
    assert "about 266.00 MiB" in capsys.readouterr().out


def test_the_largest_that_fits_is_proposed_and_the_fewest_workers_that_feed_it():
    best = tune.Fit(64, 1e9, 500.0, fits=True)
    lines = tune.describe(best, 256, 500.0, [(0, 400.0), (1, 480.0), (2, 900.0)])
    assert yaml.safe_load(lines.partition("\n")[2]) == {"model": {"micro_batch_size": 64}, "data": {"num_workers": 2}}
    lines = tune.describe(best, 64, 500.0, [(0, 100.0), (1, 200.0), (2, 150.0)])
    assert yaml.safe_load(lines.partition("\n")[2]) == {"model": {"micro_batch_size": None}, "data": {"num_workers": 1}}
    assert "steps wait for data 60% of the time" in lines
    assert "wait" not in tune.describe(best, 64, 500.0, [(0, 400.0), (1, 520.0)]), "data of one worker come in time"


def test_workers_that_read_beside_the_model_are_better_than_faster_reading_in_turns():
    lines = tune.describe(tune.Fit(64, 1e9, 500.0, fits=True), 64, 500.0, [(0, 480.0), (1, 450.0)])
    assert "num_workers: 1" in lines
    assert "steps wait for data 10% of the time" in lines


def test_without_workers_a_step_waits_for_all_of_its_data():
    assert not tune.feeds(0, rate=2_000, needed=1_000)
    assert tune.feeds(0, rate=20_000, needed=1_000)
    assert tune.feeds(1, rate=2_000, needed=1_000)


def test_where_nothing_fits_it_is_said_what_to_lower(capsys, monkeypatch):
    monkeypatch.setattr(tune, "Trials", lambda cli, batch: Device("cuda", 1))
    assert main(["tune", "--config", TINY]) == 2
    message = capsys.readouterr().err
    assert "not even 4 pairs at once fit into memory: by estimate" in message
    assert "gradient_checkpointing" in message


def test_memory_of_the_cpu_is_what_the_process_has():
    with trial._watched(torch.device("cpu")) as peak:
        before = trial._memory(torch.device("cpu"))
        for _ in range(20):
            kept = torch.ones(16, 2**20)
            kept += 1
    assert 0.8 * kept.nbytes < peak[0] - before < 3 * kept.nbytes
    trials = SimpleNamespace(device=torch.device("cpu"))
    assert trial._available(trials.device) > kept.nbytes
