import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from toy import Labels, noisy, run

from clip_lightning.evaluation import OutOfDistribution


def evaluate(known, target, outliers):
    evaluator = OutOfDistribution(Labels(target=target), Labels(name="strange", target=[99] * len(outliers)))
    return run(evaluator, {"toy": known, "strange": outliers})


def test_the_figures_are_those_of_scikit_learn():
    known, target = noisy(images=300, signal=3)
    outliers = np.random.default_rng(5).normal(size=(200, 8))
    results = evaluate(known, target, outliers)
    confidence = softmax(np.concatenate([known, outliers]), axis=1).max(axis=1)
    is_known = np.arange(500) < 300
    assert results["area_under_roc"].value == pytest.approx(roc_auc_score(is_known, confidence))
    false, recall, _ = roc_curve(is_known, confidence, drop_intermediate=False)
    expected = false[np.searchsorted(recall, 0.95)]
    assert results["false_positive_rate_at_95_recall"].value == pytest.approx(expected)
    expected = average_precision_score(~is_known, -confidence)
    assert results["average_precision"].value == pytest.approx(expected)
    for result in results.values():
        assert result.interval[0] < result.value < result.interval[1]
        assert result.n == 500
        assert result.name.startswith("out_of_distribution/toy_strange/")
        assert result.protocol["outliers"] == "strange, test, 200 images"


def test_a_model_that_tells_nothing_apart_is_at_chance():
    results = evaluate(np.zeros((60, 8)), np.arange(60) % 8, np.zeros((40, 8)))
    assert results["area_under_roc"].value == pytest.approx(0.5)
    assert results["false_positive_rate_at_95_recall"].value == pytest.approx(0.95)
    assert results["average_precision"].value == pytest.approx(0.4)


def test_a_model_that_knows_what_it_does_not_know():
    results = evaluate(9 * np.eye(8)[np.arange(40) % 8], np.arange(40) % 8, np.zeros((20, 8)))
    assert [result.value for result in results.values()] == [1.0, 0.0, 1.0]
