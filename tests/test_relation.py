import numpy as np
import pytest
from scipy.stats import pearsonr

from clip_lightning.stats import linear_relation


def test_a_relation_agrees_with_scipy_and_numpy():
    rng = np.random.default_rng(0)
    x = rng.random(12)
    y = 0.8 * x + 0.1 * rng.normal(size=12)
    found, expected = linear_relation(x, y), pearsonr(x, y)
    assert found.correlation == pytest.approx(expected.statistic)
    assert found.correlation_interval == pytest.approx(tuple(expected.confidence_interval(0.95)))
    slope, intercept = np.polyfit(x, y, 1)
    assert (found.slope, found.intercept) == pytest.approx((slope, intercept))
    residual = y - slope * x - intercept
    half = 2.228139 * np.sqrt((residual**2).sum() / 10 / ((x - x.mean()) ** 2).sum())  # t of 10 degrees of freedom
    assert found.slope_interval == pytest.approx((slope - half, slope + half), rel=1e-5)


def test_a_perfect_relation_has_an_end_at_1():
    found = linear_relation([0.0, 0.1, 0.2, 0.3, 0.4], [0.0, 0.1, 0.2, 0.3, 0.4])
    assert found.correlation == pytest.approx(1)
    assert found.correlation_interval[1] == pytest.approx(1)


@pytest.mark.parametrize(("x", "y"), [([0.5, 0.6, 0.7], [0.1, 0.2, 0.3]), ([0.5] * 4, [0.1, 0.2, 0.3, 0.4])])
def test_what_shows_no_relation_is_refused(x, y):
    with pytest.raises(ValueError, match="points show no relation"):
        linear_relation(x, y)
