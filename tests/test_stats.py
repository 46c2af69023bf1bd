import math

import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap, nct, t, ttest_1samp, ttest_rel

from clip_lightning.stats import (
    bootstrap_interval,
    bootstrap_mean_per_class,
    clustered_interval,
    clustered_median_interval,
    detectable_difference,
    holm,
    interval_over_seeds,
    mcnemar,
    paired_bootstrap,
    paired_difference,
    paired_power,
    pairs_needed,
    t_interval,
    wilson_interval,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (10, 10), (1, 1), (3, 7), (512, 1000), (49_999, 50_000)])
def test_wilson_agrees_with_scipy(hits, n):
    expected = binomtest(hits, n).proportion_ci(confidence_level=0.95, method="wilson")
    assert wilson_interval(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("hits", "n"), [(0, 0), (-1, 5), (6, 5), (float("nan"), 5)])
def test_wilson_refuses_what_is_no_proportion(hits, n):
    with pytest.raises(ValueError, match="successes"):
        wilson_interval(hits, n)


def test_wilson_contains_its_value():
    for n in range(1, 60):
        for hits in range(n + 1):
            low, high = wilson_interval(hits, n)
            assert 0 <= low <= hits / n <= high <= 1


def test_bootstrap_of_one_class_agrees_with_scipy(rng):
    values = rng.random(200)
    expected = bootstrap((values,), np.mean, method="percentile", n_resamples=2000, rng=1).confidence_interval
    ends = bootstrap_mean_per_class(values, np.zeros(200, dtype=int))
    assert ends == pytest.approx((expected.low, expected.high), abs=0.005)


def test_bootstrap_of_classes_agrees_with_drawing_the_samples(rng):
    classes = np.repeat([0, 1, 2], [20, 50, 200])
    hits = (rng.random(270) < np.array([0.9, 0.5, 0.2])[classes]).astype(float)
    means = [
        np.mean([rng.choice(hits[classes == label], size=(classes == label).sum()).mean() for label in range(3)])
        for _ in range(3000)
    ]
    assert bootstrap_mean_per_class(hits, classes) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.012)


def test_bootstrap_covers_the_truth_about_as_often_as_it_says(rng):
    chances, classes = np.array([0.8, 0.5, 0.3, 0.6]), np.repeat(np.arange(4), 60)
    covered = 0
    for _ in range(300):
        low, high = bootstrap_mean_per_class((rng.random(240) < chances[classes]).astype(float), classes)
        covered += low <= chances.mean() <= high
    assert 0.90 <= covered / 300 <= 0.99


def test_bootstrap_repeats_with_its_seed(rng):
    hits, classes = (rng.random(90) < 0.5).astype(float), np.repeat([0, 1, 2], 30)
    assert bootstrap_mean_per_class(hits, classes, seed=3) == bootstrap_mean_per_class(hits, classes, seed=3)
    assert bootstrap_mean_per_class(hits, classes, seed=3) != bootstrap_mean_per_class(hits, classes, seed=4)


@pytest.mark.parametrize("classes", [[0, 0, 0, 1], [0, 1, 0, 1]])
def test_what_resampling_cannot_show_has_no_interval(classes):
    """A class with a single sample; and classes whose samples are all alike, as of a model that names one class."""
    assert bootstrap_mean_per_class(np.array([1.0, 0.0, 1.0, 0.0]), np.array(classes)) is None


def clustered(rng, clusters=80, size=5):
    """Hits of samples that share a cluster's chance."""
    chance = rng.beta(1.0, 2.0, size=clusters)
    cluster = np.repeat(np.arange(clusters), size)
    return (rng.random(clusters * size) < chance[cluster]).astype(float), cluster


def test_clusters_of_one_are_independent_samples(rng):
    hits, _ = clustered(rng)
    n = len(hits)
    expected = wilson_interval(hits.sum(), n)
    assert clustered_interval(hits, np.arange(n)) == pytest.approx(expected, abs=1e-3)


def test_clustered_intervals_agree_with_drawing_the_clusters(rng):
    hits, cluster = clustered(rng)
    ranks = np.where(hits == 1, 1.0, rng.integers(2, 90, len(hits)))
    drawn = [np.flatnonzero(cluster == 0) + 5 * rows[:, None] for rows in rng.integers(0, 80, (2000, 80))]
    ends = [0.025, 0.975]
    expected = np.quantile([hits[rows].mean() for rows in drawn], ends)
    assert clustered_interval(hits, cluster) == pytest.approx(expected, abs=0.01)
    expected = np.quantile([np.median(ranks[rows]) for rows in drawn], ends)
    assert clustered_median_interval(ranks, cluster) == pytest.approx(expected, abs=3)


def test_clustered_intervals_cover_the_truth_about_as_often_as_they_say(rng):
    covered, median_covered, naive = 0, 0, 0
    for _ in range(400):
        hits, cluster = clustered(rng)
        low, high = clustered_interval(hits, cluster)
        covered += low <= 1 / 3 <= high
        low, high = wilson_interval(hits.sum(), len(hits))
        naive += low <= 1 / 3 <= high
        values = rng.normal(size=80)[cluster] + rng.normal(size=400)
        low, high = clustered_median_interval(values, cluster)
        median_covered += low <= 0 <= high
    assert 0.92 <= covered / 400 <= 0.98
    assert 0.92 <= median_covered / 400 <= 0.98
    assert naive / 400 < 0.9


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_clusters_that_are_all_alike_count_once(value):
    assert clustered_interval(np.full(20, value), np.repeat(np.arange(4), 5)) == wilson_interval(4 * value, 4)


def test_one_cluster_shows_no_spread():
    assert clustered_interval(np.array([0.0, 1.0]), np.zeros(2, dtype=int)) is None
    assert clustered_median_interval(np.array([0.0, 1.0]), np.zeros(2, dtype=int)) is None


def test_bootstrap_of_any_statistic_agrees_with_scipy(rng):
    values = rng.random(200)
    expected = bootstrap((values,), np.std, method="percentile", n_resamples=2000, rng=1).confidence_interval
    ends = bootstrap_interval(lambda counts: float(np.repeat(values, counts).std()), 200)
    assert ends == pytest.approx((expected.low, expected.high), abs=0.004)


def test_bootstrap_leaves_out_draws_without_a_figure(rng):
    """As where no sample of a class is drawn."""
    ends = bootstrap_interval(lambda counts: float("nan") if counts[0] == 0 else 1.0 + counts[0], 30)
    assert 2.0 <= ends[0] < ends[1]
    assert bootstrap_interval(lambda counts: float("nan"), 30) is None
    assert bootstrap_interval(lambda counts: 0.5, 30) is None


@pytest.mark.parametrize("n", [2, 3, 5, 19])
def test_the_interval_of_a_mean_agrees_with_scipy(n, rng):
    values = rng.normal(0.7, 0.02, n).tolist()
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    assert t_interval(values) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert interval_over_seeds(values) == (t_interval(values), "t")


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.5, 0.5]])
def test_values_without_a_spread_have_no_interval(values):
    assert t_interval(values) is None


def test_many_seeds_are_resampled(rng):
    values = rng.exponential(size=20)
    expected = bootstrap((values,), np.mean, method="percentile", n_resamples=9000, rng=1).confidence_interval
    ends, method = interval_over_seeds(values.tolist())
    assert method == "percentile bootstrap"
    assert ends == pytest.approx((expected.low, expected.high), abs=0.05)


@pytest.mark.parametrize("n", [2, 5, 40])
def test_paired_differences_agree_with_scipy(n, rng):
    others = rng.normal(0.6, 0.1, n)
    values = others + rng.normal(0.02, 0.03, n)
    found, expected = paired_difference(values.tolist(), others.tolist()), ttest_rel(values, others)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.mean == pytest.approx((values - others).mean())
    interval = expected.confidence_interval(0.95)
    assert found.interval == pytest.approx((interval.low, interval.high), abs=1e-12)


@pytest.mark.parametrize(("values", "others"), [([0.5], [0.4]), ([0.5, 0.6], [0.5, 0.6])])
def test_what_does_not_vary_is_not_resolved(values, others):
    found = paired_difference(values, others)
    assert found.p == 1
    assert found.interval is None


@pytest.mark.parametrize(("values", "others"), [([], []), ([0.5], [0.4, 0.3])])
def test_values_without_their_pair_are_refused(values, others):
    with pytest.raises(ValueError, match="no pairs"):
        paired_difference(values, others)


def test_holm_by_its_definition():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1, 1])
    assert holm([]) == []


def test_holm_keeps_the_chance_of_any_accident(rng):
    found = sum(min(holm(ttest_1samp(rng.normal(size=(8, 4)), 0).pvalue.tolist())) < 0.05 for _ in range(600))
    assert found / 600 < 0.08


@pytest.mark.parametrize(("difference", "n"), [(0.01, 5), (-0.03, 5), (0.02, 20), (0.5, 3)])
def test_power_agrees_with_scipy_and_with_drawing(difference, n, rng):
    bound = t.ppf(0.975, n - 1)
    shift = difference / 0.02 * np.sqrt(n)
    expected = np.nansum([nct.sf(bound, n - 1, shift), nct.cdf(-bound, n - 1, shift)])
    power = paired_power(difference, 0.02, n, 0.05)
    assert power == pytest.approx(expected, abs=1e-6)
    drawn = ttest_1samp(rng.normal(difference, 0.02, (n, 4000)), 0).pvalue < 0.05
    assert power == pytest.approx(drawn.mean(), abs=0.025)


@pytest.mark.parametrize("n", [2, 5, 30])
def test_what_could_be_detected_needs_so_many_pairs(n):
    difference = detectable_difference(0.03, n, 0.05)
    assert paired_power(difference, 0.03, n, 0.05) == pytest.approx(0.8, abs=1e-6)
    assert pairs_needed(difference * 1.001, 0.03, 0.05) == n


def test_a_difference_that_no_number_of_seeds_would_show():
    assert pairs_needed(1e-5, 0.03, 0.05) is None
    assert pairs_needed(0.0, 0.03, 0.05) is None


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (3, 0), (5, 5), (12, 3), (40, 61)])
def test_mcnemar_is_the_sum_of_the_binomial_tail(better, worse):
    values = np.repeat([1.0, 0.0, 1.0, 0.0], [better, worse, 50, 20])
    others = np.repeat([0.0, 1.0, 1.0, 0.0], [better, worse, 50, 20])
    n, few = better + worse, min(better, worse)
    expected = min(1.0, 2 * sum(math.comb(n, hits) for hits in range(few + 1)) / 2**n)
    assert mcnemar(values, others) == pytest.approx(expected)
    assert mcnemar(others, values) == pytest.approx(expected)


def test_mcnemar_counts_a_larger_share_of_a_hit_as_better():
    assert mcnemar(np.full(8, 0.5), np.full(8, 0.25)) == pytest.approx(2 / 2**8)


def test_paired_bootstrap_agrees_with_scipy_and_is_narrower_than_two_samples(rng):
    values = (rng.random(400) < 0.7).astype(float)
    others = np.where(rng.random(400) < 0.9, values, 1 - values)
    ends = paired_bootstrap(values, others)
    theirs = bootstrap((values - others,), np.mean, method="percentile", n_resamples=2000, rng=1).confidence_interval
    assert ends == pytest.approx((theirs.low, theirs.high), abs=0.005)
    unpaired = np.sqrt(values.var() / 400 + others.var() / 400) * 2 * 1.96
    assert ends[1] - ends[0] < 0.75 * unpaired


def test_paired_bootstrap_of_means_of_classes_keeps_their_counts(rng):
    classes = np.repeat([0, 1], [40, 200])
    values, others = rng.random(240) + (classes == 0), rng.random(240)
    low, high = paired_bootstrap(values, others, classes)
    assert low < 0.5 < high
    assert paired_bootstrap(values, values) is None


def test_models_are_paired_on_the_same_samples():
    for compare in (mcnemar, paired_bootstrap):
        with pytest.raises(ValueError, match="3 and 2 samples make no pairs"):
            compare(np.zeros(3), np.zeros(2))
