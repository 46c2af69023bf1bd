import numpy as np
import pytest
from scipy.special import softmax
from toy import Labels, noisy, run

from clip_lightning.evaluation import Calibration, SelectivePrediction
from clip_lightning.evaluation.calibration_interval import error_interval


def confidences(gap, images=400, seed=0):
    """Probabilities, and hits that are fewer than these say."""
    rng = np.random.default_rng(seed)
    confidence = 0.3 + 0.7 * rng.beta(5, 2, size=images)
    return confidence, (rng.random(images) < confidence - gap).astype(float)


@pytest.mark.parametrize("gap", [0.0, 0.03, 0.2])
def test_the_interval_of_the_error_holds_the_truth(gap):
    intervals = [error_interval(*confidences(gap, seed=seed)) for seed in range(12)]
    assert sum(low <= gap <= high for low, high in intervals) >= 10
    assert (intervals[0][0] == 0) == (gap < 0.1)


@pytest.fixture
def scored():
    return noisy(images=600)


def test_errors_at_the_models_temperature(scored):
    scores, target = scored
    results = run(Calibration(Labels(target=target)), scores, missing=[600])
    assert list(results) == [
        "expected_calibration_error",
        "classwise_calibration_error",
        "brier_score",
        "negative_log_likelihood",
    ]
    likelihood = results["negative_log_likelihood"]
    assert (likelihood.n, likelihood.missing, likelihood.unit) == (600, 1, "nats")
    assert likelihood.interval[0] < likelihood.value < likelihood.interval[1]
    error = results["expected_calibration_error"]
    assert error.interval[0] <= error.value <= error.interval[1]
    assert error.method == "basic bootstrap over samples; from 0 where a calibrated model shows as much by chance"


def test_the_bins_make_the_error(scored):
    scores, target = scored
    result = run(Calibration(Labels(target=target)), 3 * scores)["expected_calibration_error"]
    rows = result.details["rows"]
    assert result.details["kind"] == "reliability"
    assert sum(row["n"] for row in rows) == 600
    gaps = [abs(row["accuracy"] - row["confidence"]) * row["n"] for row in rows]
    assert sum(gaps) / 600 == pytest.approx(result.value)
    assert all(row["interval"][0] <= row["accuracy"] <= row["interval"][1] for row in rows)
    everything = sum(row["confidence"] * row["n"] for row in rows)
    assert everything == pytest.approx(softmax(3 * scores, axis=1).max(axis=1).sum())


def test_the_temperature_is_fitted_on_the_validation_set(scored):
    scores, target = scored
    other, other_target = noisy(images=500, seed=1)
    evaluator = Calibration(Labels(target=target), Labels(target=other_target, name="held"))
    results = run(evaluator, {"toy": 5 * scores, "held": 5 * other})
    plain = run(Calibration(Labels(target=other_target), Labels(target=other_target)), other)["temperature"].value
    temperature = results["temperature"]
    assert temperature.value == pytest.approx(5 * plain, rel=1e-3)
    assert temperature.protocol["fitted_on"] == "held, test, 500 images"
    for metric in ("expected_calibration_error", "brier_score", "negative_log_likelihood"):
        assert results[f"{metric}_at_fitted_temperature"].value < results[metric].value
    assert results["brier_score_at_fitted_temperature"].protocol["fitted_on"] == "held, test, 500 images"


def test_the_validation_set_has_the_same_classes():
    with pytest.raises(ValueError, match="validation 'held' has other classes than 'toy'"):
        Calibration(Labels(8), Labels(7, name="held"))


@pytest.mark.parametrize("evaluator", [Calibration, SelectivePrediction])
def test_several_labels_a_sample_are_refused(evaluator):
    with pytest.raises(ValueError, match=f"'toy' have several labels; {evaluator.__name__} needs one each"):
        evaluator(Labels(metric="mean_average_precision_11_point"))


def test_the_area_under_risk_and_coverage_comes_with_its_curve(scored):
    scores, target = scored
    result = run(SelectivePrediction(Labels(target=target)), scores)["area_under_risk_coverage"]
    wrong = (scores.argmax(axis=1) != target).mean()
    assert result.interval[0] < result.value < result.interval[1] < wrong
    curve = result.details
    assert curve["kind"] == "risk_coverage"
    assert len(curve["coverage"]) == len(curve["risk"]) == 101
    assert curve["coverage"][-1] == 1.0
    assert curve["risk"][-1] == pytest.approx(wrong)


def test_a_collapsed_model_gains_nothing_by_declining():
    result = run(SelectivePrediction(Labels(target=np.arange(80) % 8)), np.zeros((80, 8)))["area_under_risk_coverage"]
    assert result.value == pytest.approx(7 / 8)
