from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from clip_lightning.data.features import Features
from clip_lightning.data.rare_act import Annotated
from clip_lightning.evaluation import RareActions

ROWS = [
    Annotated("v1", "cut", "laptop", 1),
    Annotated("v1", "cut", "laptop", 1),
    Annotated("v2", "cut", "laptop", 0),
    Annotated("v3", "cut", "laptop", 3),
    Annotated("v4", "cut", "apple", 1),
    Annotated("v5", "wash", "car", 1),
    Annotated("v5", "wash", "car", 0),
    Annotated("v6", "drill", "egg", 0),
]


ACTIONS = list(dict.fromkeys((row.verb, row.noun) for row in ROWS))
PROMPTS = [[" ".join(action)] for action in ACTIONS]
ANNOTATED = SimpleNamespace(name="rareact", rows=ROWS, source=None, actions=ACTIONS, prompts=PROMPTS)


class Fixed:
    """A context with scores that the test made."""

    def __init__(self, scores):
        self.scores = scores

    def images(self, source, stage="features"):
        return Features(self.scores, np.arange(len(self.scores)), {})

    def class_scores(self, source, prompts):
        return self.scores


def precisions(scores):
    evaluator = RareActions(ANNOTATED)
    [result] = evaluator.compute(evaluator.collect(Fixed(np.asarray(scores, dtype=float))))
    return result


def test_each_video_of_a_group_counts_once():
    scores = np.random.default_rng(0).normal(size=(8, 4))
    found = precisions(scores)
    # For "cut laptop": two positive sections of one video; its own negative; a hard one and the cut apple; the car.
    rows, weight = [0, 1, 2, 3, 4, 5], [0.5, 0.5, 1, 1, 1, 1]
    expected = average_precision_score([1, 1, 0, 0, 0, 0], scores[rows, 0], sample_weight=weight)
    assert found.details["values"]["cut laptop"] == pytest.approx(expected)
    # For "wash car": its own positive and negative section, and what shows other actions.
    rows, weight = [5, 6, 0, 1, 4], [1, 1, 0.5, 0.5, 1]
    expected = average_precision_score([1, 0, 0, 0, 0], scores[rows, 2], sample_weight=weight)
    assert found.details["values"]["wash car"] == pytest.approx(expected)
    assert set(found.details["values"]) == {"cut laptop", "cut apple", "wash car"}, "no section shows drill egg"
    assert found.value == pytest.approx(np.mean(list(found.details["values"].values())))


def test_an_oracle_gets_all():
    scores = np.zeros((8, 4))
    for row, one in enumerate(ROWS):
        scores[row, ACTIONS.index((one.verb, one.noun))] = one.kind == 1
    assert precisions(scores).value == pytest.approx(1)
