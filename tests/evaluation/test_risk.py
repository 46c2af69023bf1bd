import numpy as np
import pytest

from clip_lightning.evaluation.risk import RiskCoverage


def once(n):
    return np.ones(n, dtype=int)


def test_the_area_is_the_mean_risk_of_the_surest():
    rng = np.random.default_rng(0)
    confidence, hits = rng.random(300), (rng.random(300) < 0.6).astype(float)
    order = np.argsort(-confidence)
    risks = [1 - hits[order[:count]].mean() for count in range(1, 301)]
    curve = RiskCoverage.of(confidence, hits)
    np.testing.assert_allclose(curve.risks(once(300)), risks)
    assert curve.area(once(300)) == pytest.approx(np.mean(risks))


def test_equal_confidence_is_a_mean_over_random_orders():
    rng = np.random.default_rng(0)
    confidence, hits = rng.integers(0, 3, 40) / 2, (rng.random(40) < 0.5).astype(float)
    areas = []
    for _ in range(3000):
        order = rng.permutation(40)
        order = order[np.argsort(-confidence[order], kind="stable")]
        areas.append(np.mean(np.cumsum(1 - hits[order]) / np.arange(1, 41)))
    assert RiskCoverage.of(confidence, hits).area(once(40)) == pytest.approx(np.mean(areas), abs=0.005)


def test_a_confidence_that_tells_nothing_has_the_share_of_errors():
    hits = np.array([1.0, 0.0, 0.0, 1.0, 1.0])
    assert RiskCoverage.of(np.full(5, 0.2), hits).area(once(5)) == pytest.approx(0.4)


def test_the_best_and_the_worst_order():
    hits = np.array([1.0, 1.0, 0.0, 0.0])
    assert RiskCoverage.of(np.array([0.9, 0.8, 0.2, 0.1]), hits).area(once(4)) == pytest.approx(
        (0 + 0 + 1 / 3 + 0.5) / 4
    )
    assert RiskCoverage.of(np.array([0.1, 0.2, 0.8, 0.9]), hits).area(once(4)) == pytest.approx(
        (1 + 1 + 2 / 3 + 0.5) / 4
    )
    assert RiskCoverage.of(np.array([0.5, 0.4, 0.3, np.nan]), hits).risks(once(4))[0] == 1.0


def test_a_sample_that_counts_twice_is_two_samples():
    rng = np.random.default_rng(1)
    confidence, hits, counts = rng.integers(0, 9, 50) / 9, (rng.random(50) < 0.5).astype(float), rng.integers(0, 4, 50)
    again = RiskCoverage.of(np.repeat(confidence, counts), np.repeat(hits, counts))
    assert RiskCoverage.of(confidence, hits).area(counts) == pytest.approx(again.area(once(counts.sum())))
