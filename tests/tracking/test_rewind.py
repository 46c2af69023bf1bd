"""Runs that are killed and resumed at random leave the curves of a run that was not, in the journal and in MLflow."""

import contextlib
import json
from collections import Counter

import numpy as np
import pytest
from mlflow import MlflowClient

from clip_lightning.tracking import mlflow_delivery
from clip_lightning.tracking.journal import Journal, metrics
from clip_lightning.tracking.mlflow_delivery import Delivery, DeliveryError, deliver

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")

PROCESS = {"host": "elsewhere", "pid": 1, "started": 0.0}
EPOCH = 3


class Training:
    """A run that measures "train" at each step and "val" after each epoch, before its checkpoint.

    As Lightning does it, "val" has the number of steps done, which is the step that "train" has next.

    Attributes:
        done: Steps done.
        written: The last value of each (name, step); each value is written once.
    """

    def __init__(self, journal, rng):
        self.journal, self.rng = journal, rng
        self.done, self.count = 0, 0
        self.written = {}
        self.checkpoints = [(0, 0)]

    def write(self, name, step):
        self.count += 1
        self.journal.log_metrics({name: float(self.count)}, step)
        self.written[name, step] = float(self.count)

    def train(self):
        """Does a step. At an epoch's end, a kill may come before the checkpoint, and "train" after it."""
        step, self.done = self.done, self.done + 1
        if self.done % EPOCH:
            self.write("train", step)
            return
        is_late = self.rng.random() < 0.5
        if not is_late:
            self.write("train", step)
        self.write("val", self.done)
        if self.rng.random() < 0.15:
            self.resume()
            return
        self.checkpoints.append((self.done, self.journal.path.stat().st_size))
        if is_late:
            self.write("train", step)

    def resume(self):
        """Goes on from the last checkpoint, or from an earlier one, where the later ones are damaged."""
        while len(self.checkpoints) > 1 and self.rng.random() < 0.2:
            self.checkpoints.pop()
        self.done, after = self.checkpoints[-1]
        self.journal.start("experiment", "name", "uri", PROCESS)
        self.journal.rewind(self.done, after)

    def lose_journal(self):
        """Goes on from the last checkpoint in a folder without the journal."""
        self.journal.close()
        self.journal.path.unlink()
        self.written = {}
        self.checkpoints = self.checkpoints[-1:]
        self.resume()

    @property
    def expected(self):
        """What is in the journal of a run that did these steps without being killed."""
        trained = {("train", step) for step in range(self.done)}
        validated = {("val", step) for step in range(EPOCH, self.done + 1, EPOCH)}
        return {point: value for point, value in self.written.items() if point in trained | validated}


def curves(path):
    """(name, step, value) of each point that holds."""
    return sorted((name, *row) for name, series in metrics(path).items() for row in zip(*series[:2], strict=True))


def random_run(journal, seed, actions=120):
    """Yields the training after each of its actions."""
    rng = np.random.default_rng(seed)
    training = Training(journal, rng)
    for _ in range(actions):
        if rng.random() < 0.08:
            training.resume()
        else:
            training.train()
        yield training


@pytest.mark.parametrize("seed", range(20))
def test_the_journal_shows_the_curves_of_a_run_that_was_never_killed(tmp_path, seed):
    journal = Journal(tmp_path / "journal.jsonl")
    for action, training in enumerate(random_run(journal, seed)):
        if action == 60 and seed % 2:
            training.lose_journal()
        if journal.path.exists():
            assert curves(journal.path) == sorted((*point, value) for point, value in training.expected.items())
    assert training.count > len(training.expected) > 10


def test_a_rewind_voids_by_place_and_by_step(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.log_metrics({"train": 0.0}, 0)
    journal.log_metrics({"val": 0.0}, 2)
    end = journal.path.stat().st_size
    journal.log_metrics({"train": 0.0}, 1)
    journal.log_metrics({"train": 0.0}, 2)
    journal.rewind(2, end)
    assert curves(journal.path) == [("train", 0, 0.0), ("train", 1, 0.0), ("val", 2, 0.0)]
    journal.rewind(0, after=10**6)
    assert len(curves(journal.path)) == 3, "a journal of which nothing is known"
    with journal.path.open("a") as file:
        file.write(json.dumps({"kind": "rewind", "time": 0, "step": 1}) + "\n")
    assert curves(journal.path) == [("train", 0, 0.0)], "a rewind without a place is from the beginning"


def make_unreliable(rng, monkeypatch):
    """Lets MLflow at times fail before it has taken a batch, or after."""
    log_batch = MlflowClient.log_batch

    def unreliable(client, *arguments, **keywords):
        chance = rng.random()
        if chance < 0.1:
            raise ConnectionError("not taken")
        log_batch(client, *arguments, **keywords)
        if chance > 0.9:
            raise ConnectionError("taken, and the answer lost")

    monkeypatch.setattr(MlflowClient, "log_batch", unreliable)


@pytest.mark.parametrize("seed", range(8))
def test_mlflow_holds_each_point_of_the_journal_once(journal, store, tmp_path, monkeypatch, seed):
    rng = np.random.default_rng(seed)
    monkeypatch.setattr(mlflow_delivery, "METRICS_PER_BATCH", 5)
    follower = Delivery(tmp_path)
    written = {}
    with monkeypatch.context() as patch:
        make_unreliable(rng, patch)
        for training in random_run(journal, seed):
            written |= {value: point for point, value in training.written.items()}
            if rng.random() < 0.2:
                follower = follower if rng.random() < 0.7 else Delivery(tmp_path)
                with contextlib.suppress(DeliveryError), follower:
                    follower.deliver()
    deliver(tmp_path)
    rows = store.metrics(tmp_path)
    times = Counter((name, step) for name, step, _ in rows)
    assert set(times.values()) == {1}
    assert all(written[value] == (name, step) for name, step, value in rows)
    assert times.keys() >= training.expected.keys()
    assert deliver(tmp_path).metrics == 0
