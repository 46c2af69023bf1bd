import itertools

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, top_k_accuracy_score

from clip_lightning.evaluation.accuracy import mean_per_class, top_k_credit


@pytest.fixture
def scored():
    rng = np.random.default_rng(0)
    target = rng.choice(8, size=500, p=np.arange(1, 9) / 36)
    scores = rng.normal(size=(500, 8))
    scores[np.arange(500), target] += 1.0
    return scores, target


@pytest.mark.parametrize("k", [1, 2, 5, 7])
def test_top_k_agrees_with_scikit_learn(scored, k):
    scores, target = scored
    assert top_k_credit(scores, target, k).mean() == pytest.approx(top_k_accuracy_score(target, scores, k=k))


def test_top_1_is_argmax(scored):
    scores, target = scored
    assert top_k_credit(scores, target, 1).mean() == pytest.approx(accuracy_score(target, scores.argmax(axis=1)))


def test_mean_per_class_agrees_with_scikit_learn(scored):
    scores, target = scored
    expected = balanced_accuracy_score(target, scores.argmax(axis=1))
    assert mean_per_class(top_k_credit(scores, target, 1), target) == pytest.approx(expected)


def test_mean_per_class_is_over_the_classes_that_occur():
    assert mean_per_class(np.array([1.0, 0.0, 1.0]), np.array([0, 0, 7])) == pytest.approx(0.75)


@pytest.mark.parametrize("k", [1, 3, 8])
def test_equal_scores_get_chance_whatever_the_label(k):
    np.testing.assert_allclose(top_k_credit(np.full((8, 8), 0.3), np.arange(8), k), k / 8)


def test_a_tie_is_the_mean_over_random_orders():
    scores, rng = np.array([[2.0, 1.0, 1.0, 1.0, 0.0]]), np.random.default_rng(0)
    orders = [rng.permutation(5) for _ in range(4000)]
    hits = [1 in order[np.argsort(-scores[0][order], kind="stable")][:2] for order in orders]
    assert top_k_credit(scores, np.array([1]), 2)[0] == pytest.approx(np.mean(hits), abs=0.03)


@pytest.mark.parametrize("row", [[np.nan] * 3, [0.0, np.nan, 1.0], [np.nan, 0.0, 1.0]])
def test_nan_is_never_right(row):
    assert top_k_credit(np.array([row, [0.0, 0.0, 1.0]]), np.array([2, 2]), 1).tolist() == [0.0, 1.0]


def test_infinite_scores_rank_like_any_others():
    scores = np.array([[-np.inf, 0.0, np.inf], [-np.inf, -np.inf, -np.inf]])
    np.testing.assert_allclose(top_k_credit(scores, np.array([2, 0]), 1), [1.0, 1 / 3])


def brute_force(scores, right, k):
    """Share of all orders of the classes in which a right one is among the k best, equal scores in that order."""
    orders = list(itertools.permutations(range(len(scores))))
    hits = [any(right[label] for label in sorted(order, key=lambda label: -scores[label])[:k]) for order in orders]
    return np.mean(hits)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_sets_of_right_classes_and_ties_agree_with_all_orders(k):
    rng = np.random.default_rng(k)
    scores = rng.integers(0, 3, (40, 5)).astype(float)
    right = rng.random((40, 5)) < 0.4
    right[np.arange(40), rng.integers(0, 5, 40)] = True
    assert {1, 2, 3} <= set(right.sum(axis=1).tolist())
    expected = [brute_force(*row, k) for row in zip(scores, right, strict=True)]
    np.testing.assert_allclose(top_k_credit(scores, right, k), expected, atol=1e-12)


def test_a_single_right_class_is_a_set_of_one(scored):
    scores, target = scored
    rounded = scores.round()
    for k in (1, 4):
        np.testing.assert_array_equal(
            top_k_credit(rounded, target, k), top_k_credit(rounded, np.eye(8, dtype=bool)[target], k)
        )
