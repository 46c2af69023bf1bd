import numpy as np
import pytest
from scipy.stats import ttest_rel

from clip_lightning.ablation.comparison import against, all_pairs, pareto_front, summaries


@pytest.fixture
def values():
    draws = np.random.default_rng(0).normal(0, 0.01, (3, 6)) + np.array([[0.5], [0.6], [0.515]])
    return {name: dict(enumerate(row.tolist())) for name, row in zip("abc", draws, strict=True)}


def test_variants_are_ranked_with_intervals(values):
    ranked = summaries(values, "max")
    assert [one.name for one in ranked] == ["b", "c", "a"]
    assert [one.name for one in summaries(values, "min")] == ["a", "c", "b"]
    assert ranked[0].interval[0] < ranked[0].mean < ranked[0].interval[1]


def test_a_variant_that_was_ended_early_has_no_interval_and_no_comparison(values):
    values["a"] = {0: 0.1, 1: 0.12}
    last = summaries(values, "max", ["a"])[-1]
    assert (last.name, last.interval) == ("a", None)
    assert {pair.name for pair in against(values, "b", ["a"])} == {"c"}


def test_variants_without_runs_are_last(values):
    values["b"] = {}
    assert [one.name for one in summaries(values, "max")] == ["c", "a", "b"]
    assert {pair.name for pair in against(values, "a")} == {"c"}


def test_pairs_are_compared_over_their_common_seeds_and_corrected(values):
    del values["b"][2]
    pairs = {pair.name: pair for pair in against(values, "a")}
    seeds = [0, 1, 3, 4, 5]
    b, a = ([values[name][seed] for seed in seeds] for name in "ba")
    assert pairs["b"].difference.n == 5
    assert pairs["b"].p == pytest.approx(2 * ttest_rel(b, a).pvalue), "the smaller p of two, twice"
    assert pairs["b"].is_resolved
    assert not pairs["c"].is_resolved


def test_what_an_unresolved_pair_could_have_shown(values):
    pairs = all_pairs(summaries(values, "max"), values)
    assert [(pair.name, pair.other) for pair in pairs] == [("b", "c"), ("b", "a"), ("c", "a")]
    unresolved = pairs[-1]
    assert not unresolved.is_resolved
    assert unresolved.detectable > abs(unresolved.difference.mean)
    assert unresolved.seeds_needed > 6


def test_a_single_seed_tells_nothing_apart():
    pairs = against({"a": {0: 0.1}, "b": {0: 0.9}}, "a")
    assert (pairs[0].p, pairs[0].detectable, pairs[0].seeds_needed) == (1, None, None)


def test_nobody_on_the_front_is_beaten_in_both():
    points = {"small": (1, 0.5), "waste": (2, 0.4), "big": (3, 0.7), "same": (3, 0.6), "huge": (9, 0.7)}
    assert pareto_front(points, "max") == ["small", "big"]
    assert pareto_front(points, "min") == ["small", "waste"]
