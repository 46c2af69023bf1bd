import numpy as np
import pytest

from clip_lightning.data import ShapeShifts, ShapeTasks
from clip_lightning.data.features import Features
from clip_lightning.evaluation import ClipAccuracy


class Fixed:
    """A context with scores that the test made."""

    def __init__(self, scores, missing=()):
        self._index = np.array([row for row in range(len(scores)) if row not in missing])
        self._scores = np.asarray(scores, dtype=float)[self._index]
        self._missing = dict.fromkeys(missing, "torn")

    def images(self, source, stage="features"):
        return Features(self._scores, self._index, self._missing)

    def class_scores(self, source, prompts):
        return self._scores


def evaluate(scores, missing=()):
    evaluator = ClipAccuracy(ShapeShifts("jitter", size=20))
    results = evaluator.compute(evaluator.collect(Fixed(scores, missing)))
    return {result.metric: result for result in results}


@pytest.fixture
def oracle():
    dataset = ShapeShifts("jitter", size=20)
    return np.eye(8)[dataset.targets(np.arange(20))]


def test_a_clip_is_right_if_all_its_frames_are(oracle):
    oracle[0] = -oracle[0]  # a frame of the first clip
    oracle[12] = -oracle[12]  # the anchor of the third
    results = evaluate(oracle)
    assert results["pm_0"].items.tolist() == [1, 1, 0, 1]
    assert results["pm_k"].items.tolist() == [0, 1, 0, 1]
    assert (results["pm_k"].n, results["pm_k"].protocol["frames"]) == (4, 20)


def test_an_oracle_is_always_right_and_a_collapsed_model_at_chance(oracle):
    assert [result.value for result in evaluate(oracle).values()] == [1, 1]
    assert [result.value for result in evaluate(np.zeros((20, 8))).values()] == [1 / 8, 1 / 8]


def test_a_clip_without_anchor_is_left_out(oracle):
    results = evaluate(oracle, missing=[2, 5])
    assert [len(result.items) for result in results.values()] == [3, 3]
    assert results["pm_0"].missing == 2


def test_frames_need_clips():
    with pytest.raises(ValueError, match="'shape_scenes_shape' has no clips"):
        ClipAccuracy(ShapeTasks("shape"))
