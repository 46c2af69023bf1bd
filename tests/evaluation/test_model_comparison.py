import numpy as np
import pytest
from scipy.stats import binomtest

from clip_lightning.evaluation.comparison import UNPAIRED, compare
from clip_lightning.results import Result


def row(items, name="zero_shot/toy/accuracy", model="a", **more):
    items = None if items is None else np.asarray(items, dtype=float)
    value = more.pop("value", None) if items is None else float(items.mean())
    n = more.pop("n", 8 if items is None else len(items))
    return Result(name, value, None, "", n, 0, name.rpartition("/")[2], items=items, model=model, **more)


@pytest.fixture
def hits():
    rng = np.random.default_rng(0)
    better = rng.random(400) < 0.7
    return better, better & (rng.random(400) < 0.9)


def test_hits_are_compared_sample_by_sample(hits):
    ours, theirs = hits
    (found,) = compare([row(ours)], [row(theirs, model="b")])
    assert (found.name, found.model, found.baseline, found.n) == ("zero_shot/toy/accuracy", "a", "b", 400)
    assert found.difference == pytest.approx(ours.mean() - theirs.mean())
    wins = int((ours & ~theirs).sum())
    assert found.p_value == pytest.approx(binomtest(wins, wins).pvalue)
    difference = ours.astype(float) - theirs
    half = 1.96 * difference.std() / 20
    assert found.interval == pytest.approx((difference.mean() - half, difference.mean() + half), abs=0.006)


def test_equal_models_are_not_told_apart(hits):
    (found,) = compare([row(hits[0])], [row(hits[0], model="b")])
    assert (found.difference, found.interval, found.p_value) == (0.0, None, 1.0)


def test_what_depends_on_each_other_counts_once(hits):
    ours, theirs = hits
    alone = compare([row(ours)], [row(theirs, model="b")])[0]
    clusters = np.repeat(np.arange(400), 5)
    many = compare([row(np.repeat(ours, 5), clusters=clusters)], [row(np.repeat(theirs, 5), model="b")])[0]
    assert many.difference == pytest.approx(alone.difference)
    assert many.interval == pytest.approx(alone.interval)
    assert many.p_value == alone.p_value


def test_a_mean_over_classes_is_resampled_within_them():
    strata = np.array([0] * 90 + [1] * 10)
    ours, theirs = np.ones(100), np.r_[np.ones(90), np.zeros(5), np.ones(5)]
    named = {"name": "zero_shot/toy/mean_per_class_accuracy", "strata": strata}
    (found,) = compare([row(ours, **named)], [row(theirs, model="b", **named)])
    low, high = found.interval
    assert low < 0.25 < high  # the mean over classes; 0.05 is that over samples
    assert found.p_value is None


def test_a_metric_of_all_samples_together_has_no_interval():
    (found,) = compare([row(None, value=0.8)], [row(None, value=0.7, model="b")])
    assert found.difference == pytest.approx(0.1)
    assert (found.interval, found.p_value, found.method) == (None, None, UNPAIRED)


def test_only_what_both_have_is_compared():
    assert compare([row([1.0])], [row([1.0], name="retrieval/toy/recall_at_1")]) == []


def test_other_samples_are_refused():
    with pytest.raises(ValueError, match=r"of 3 samples of 'a' and 2 of 'b'; their data changed"):
        compare([row([1, 0, 1])], [row([1, 0], model="b")])
