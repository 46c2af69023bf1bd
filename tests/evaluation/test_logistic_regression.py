import functools

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info, threadpool_limits

from clip_lightning.evaluation.logistic_regression import logistic_regression
from clip_lightning.evaluation.torch_regression import TorchRegression

CASES = ["classes", "two classes", "several labels"]


@functools.cache
def samples(case, count=300, channels=12, seed=0):
    """Features of very different spread with a mean far from 0, as those of an encoder, and labels that overlap."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, channels)) * np.geomspace(2, 0.4, channels) + 2 * np.sin(np.arange(channels))
    centred = (features - features.mean(axis=0)) / features.std(axis=0)
    scores = centred @ rng.normal(size=(channels, 5)) + rng.gumbel(size=(count, 5)) * 2
    match case:
        case "classes":
            labels = scores.argmax(axis=1)
        case "two classes":
            labels = (scores[:, 0] > scores[:, 1]).astype(int)
        case "several labels":
            labels = (scores > np.median(scores, axis=0)).astype(int)
    return features.astype(np.float32), labels


def losses(found, features, labels):
    """Of each sample, in numpy."""
    scores = found.scores(features.astype(float))
    if labels.ndim == 2:
        return -np.where(labels == 1, np.log(expit(scores)), np.log(expit(-scores))).sum(axis=1)
    return -log_softmax(scores, axis=1)[np.arange(len(labels)), labels]


@functools.cache
def reference(case, c):
    """scikit-learn, cold and to a tight end, a class at a time where there are several."""
    return fitted(*samples(case), c)


def fitted(features, labels, c):
    if labels.ndim == 2:
        parts = [fitted(features, labels[:, label], c) for label in range(labels.shape[1])]
        return tuple(np.concatenate([part[place] for part in parts]) for place in (0, 1))
    model = LogisticRegression(C=c, max_iter=20_000, tol=1e-8).fit(features.astype(float), labels)
    return model.coef_, model.intercept_


def test_scikit_learn_has_no_more_threads_than_pytorch(monkeypatch):
    seen = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    fit = LogisticRegression.fit
    monkeypatch.setattr(LogisticRegression, "fit", lambda *given: seen.append(threadpool_info()) or fit(*given))
    with threadpool_limits(2):
        logistic_regression(*samples("classes")).fit(1.0)
    assert {pool["num_threads"] for pool in seen[0]} == {1}


def single(found, labels):
    """The row that scikit-learn has for two classes."""
    if labels.ndim == 1 and labels.max() == 1:
        return found.weight[1:] - found.weight[:1], found.bias[1:] - found.bias[:1]
    return found.weight, found.bias


@pytest.mark.parametrize("c", [1e-2, 10.0])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("solver", ["scikit-learn", "torch"])
def test_the_minimum_is_that_of_scikit_learn(solver, case, c):
    features, labels = samples(case)
    regression = (
        TorchRegression(features, labels, "cpu") if solver == "torch" else logistic_regression(features, labels)
    )
    found = regression.fit(c)
    assert found.converged
    for part, expected in zip(single(found, labels), reference(case, c), strict=True):
        assert np.abs(part - expected).max() <= 1e-3 * max(1, np.abs(expected).max())


@pytest.mark.parametrize("case", CASES)
def test_a_start_changes_nothing_of_the_minimum(case):
    features, labels = samples(case)
    for regression in (TorchRegression(features, labels, "cpu"), logistic_regression(features, labels)):
        cold, start = regression.fit(1.0), regression.fit(0.1)
        warm = regression.fit(1.0, start)
        np.testing.assert_allclose(warm.weight, cold.weight, atol=2e-3)
        assert regression.fit(1.0, cold).iterations <= 2


@pytest.mark.parametrize("case", CASES)
def test_both_solvers_reach_the_same_objective_and_accuracy(case):
    features, labels = samples(case, count=1000)
    other_features, other_labels = samples(case, count=1000, seed=0)
    for c in (0.01, 100.0):
        objectives, hits = [], []
        for regression in (TorchRegression(features, labels, "cpu"), logistic_regression(features, labels)):
            found = regression.fit(c)
            penalty = (single(found, labels)[0] ** 2).sum() / 2
            objectives.append(penalty + c * losses(found, features, labels).sum())
            scores = found.scores(other_features)
            right = (scores > 0) == other_labels if labels.ndim == 2 else scores.argmax(axis=1) == other_labels
            hits.append(right.mean())
        assert objectives[0] == pytest.approx(objectives[1], rel=1e-3)
        assert abs(hits[0] - hits[1]) <= 0.001


def test_logits_in_blocks_are_logits_at_once(monkeypatch):
    features, labels = samples("classes")
    whole = TorchRegression(features, labels, "cpu").fit(1.0)
    monkeypatch.setattr("clip_lightning.evaluation.torch_regression.ROWS", 60)
    np.testing.assert_allclose(TorchRegression(features, labels, "cpu").fit(1.0).weight, whole.weight, atol=1e-5)


def test_the_size_decides_who_fits(monkeypatch):
    features, labels = samples("classes")
    assert not isinstance(logistic_regression(features, labels), TorchRegression)
    monkeypatch.setattr("clip_lightning.evaluation.logistic_regression.SMALL", features.size * 5 - 1)
    assert isinstance(logistic_regression(features, labels), TorchRegression)


def test_an_end_before_the_minimum_is_said(monkeypatch):
    features, labels = samples("classes")
    for module in ("logistic_regression", "torch_regression"):
        monkeypatch.setattr(f"clip_lightning.evaluation.{module}.ITERATIONS", 3)
    for regression in (TorchRegression(features, labels, "cpu"), logistic_regression(features, labels)):
        assert not regression.fit(100.0).converged


def test_channels_that_say_nothing_do_no_harm():
    """As a constant one, and one that repeats another: their covariance has no inverse."""
    features, labels = samples("classes")
    features = np.concatenate([features, features[:, :1], np.ones_like(features[:, :1])], axis=1)
    found = TorchRegression(features, labels, "cpu").fit(1.0)
    np.testing.assert_allclose(found.weight, fitted(features, labels, 1.0)[0], atol=1e-3)
