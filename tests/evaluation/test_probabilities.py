import itertools

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import multiclass_calibration_error
from toy import noisy

from clip_lightning.evaluation.accuracy import top_k_credit
from clip_lightning.evaluation.probabilities import (
    brier_score,
    classwise_calibration_error,
    fitted_temperature,
    negative_log_likelihood,
    reliability,
)


@pytest.fixture
def scored():
    scores, target = noisy(classes=6, images=3000)
    return scores, target, np.eye(6, dtype=bool)[target]


def test_the_calibration_error_is_that_of_torchmetrics(scored):
    scores, target, right = scored
    for sharpness in (0.3, 1, 4):
        probabilities = softmax(sharpness * scores, axis=1)
        ours = reliability(probabilities.max(axis=1), top_k_credit(scores, right, 1)).error()
        theirs = multiclass_calibration_error(torch.tensor(probabilities), torch.tensor(target), 6, n_bins=15)
        assert ours == pytest.approx(float(theirs), abs=1e-6)


def test_the_error_over_classes_is_by_each_column_alone(scored):
    scores, target, _ = scored
    probabilities, edges, errors = softmax(scores, axis=1), np.linspace(0, 1, 16), []
    for label in range(6):
        column, error = probabilities[:, label], 0.0
        for low, high in itertools.pairwise(edges):
            own = (column > low) & (column <= high)
            if own.any():
                error += own.mean() * abs(column[own].mean() - (target[own] == label).mean())
        errors.append(error)
    assert classwise_calibration_error(probabilities, target) == pytest.approx(np.mean(errors))


def test_a_calibrated_model_has_almost_no_error():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), size=40_000)
    target = (rng.random((40_000, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    bins = reliability(probabilities.max(axis=1), (probabilities.argmax(axis=1) == target).astype(float))
    assert bins.error() < 0.01
    assert bins.sizes.sum() == 40_000
    assert classwise_calibration_error(probabilities, target) < 0.01


def test_a_collapsed_model_is_calibrated():
    """It says one in eight, and is right as often."""
    credit = top_k_credit(np.zeros((80, 8)), np.arange(80) % 8, 1)
    assert reliability(np.full(80, 1 / 8), credit).error() == pytest.approx(0, abs=1e-12)


def test_likelihood_and_brier_score_are_those_of_scikit_learn(scored):
    scores, target, right = scored
    probabilities = softmax(scores, axis=1)
    assert negative_log_likelihood(scores, right).mean() == pytest.approx(log_loss(target, probabilities))
    expected = brier_score_loss(target, probabilities, scale_by_half=False)
    assert brier_score(probabilities, right).mean() == pytest.approx(expected)


def test_classes_that_are_right_together_are_one_event():
    scores = np.log([[0.5, 0.3, 0.2]])
    assert negative_log_likelihood(scores, np.array([[True, True, False]])) == pytest.approx(-np.log(0.8))
    assert brier_score(np.exp(scores), np.array([[True, True, False]])) == pytest.approx(0.2**2 + 0.2**2)


def test_the_fitted_temperature_undoes_what_scores_were_multiplied_by(scored):
    scores, _, right = scored
    factor = fitted_temperature(scores, right)
    assert fitted_temperature(7 * scores, right) == pytest.approx(7 * factor, rel=1e-3)
    lowest = negative_log_likelihood(scores / factor, right).mean()
    assert all(
        lowest <= negative_log_likelihood(scores / other, right).mean() for other in (0.9 * factor, 1.1 * factor)
    )
