import itertools

import numpy as np
import pytest
from scipy.stats import ttest_rel

from clip_lightning.ablation.schedule import Hopeless, Rules, SeedRule

NAMES = ["a", "b", "c"]


def rules(seeds, hopeless=None, mode="max"):
    rule = None if hopeless is None else Hopeless.read(hopeless)
    return Rules(NAMES, "a", mode, SeedRule.read(seeds), rule)


def play(rules, value):
    """Does every run that is wanted, and returns the outcomes."""
    outcomes = {name: {} for name in NAMES}
    while missing := [run for run in rules.wanted(outcomes) if run[1] not in outcomes[run[0]]]:
        variant, seed = missing[0]
        outcomes[variant][seed] = value(variant, seed)
    return outcomes


def test_fixed_seeds_are_all_wanted_from_the_beginning_seed_by_seed():
    assert rules([4, 7]).wanted({}) == [("a", 4), ("b", 4), ("c", 4), ("a", 7), ("b", 7), ("c", 7)]


def test_a_hopeless_variant_gets_no_further_seeds():
    means = {"a": 0.5, "b": 0.58, "c": 0.3}
    found = play(rules([0, 1, 2, 3], {"after_seeds": 2, "behind": 0.1}), lambda name, seed: means[name] + seed / 100)
    assert {name: len(values) for name, values in found.items()} == {"a": 4, "b": 4, "c": 2}


def test_the_baseline_is_never_dropped_and_less_may_be_better():
    means = {"a": 9.0, "b": 1.0, "c": 2.0}
    found = play(rules([0, 1, 2], {"after_seeds": 1, "behind": 0.5}, "min"), lambda name, seed: means[name])
    assert {name: len(values) for name, values in found.items()} == {"a": 3, "b": 3, "c": 1}


def test_a_failed_run_is_settled():
    found = play(rules([0, 1], {"after_seeds": 1, "behind": 0.1}), lambda name, seed: None if name == "b" else 0.5)
    assert found["b"] == {0: None, 1: None}


def test_seeds_are_added_until_the_differences_are_known_well_enough():
    draws = np.random.default_rng(0).normal(0, 0.05, (3, 40))
    rule = {"at_least": 3, "at_most": 40, "half_width": 0.04}
    found = play(rules(rule), lambda name, seed: draws[NAMES.index(name), seed])
    counts = {len(values) for values in found.values()}
    assert len(counts) == 1
    n = counts.pop()
    assert 3 < n < 40

    def widest(n):
        ends = [ttest_rel(draws[other, :n], draws[0, :n]).confidence_interval(0.95) for other in (1, 2)]
        return max((end.high - end.low) / 2 for end in ends)

    assert widest(n) <= 0.04
    assert all(widest(fewer) > 0.04 for fewer in range(3, n))


def test_seeds_end_where_the_rule_ends():
    draws = np.random.default_rng(0).normal(0, 1, (3, 6))
    found = play(rules({"at_least": 2, "at_most": 6, "half_width": 0.001}), lambda n, s: draws[NAMES.index(n), s])
    assert {len(values) for values in found.values()} == {6}


def test_what_is_wanted_does_not_depend_on_the_order_in_which_runs_end():
    """Early knowledge of some seeds must not stop others: the rules look at settled rounds only."""
    rule = rules([0, 1, 2], {"after_seeds": 2, "behind": 0.1})
    values = {"a": 0.5, "b": 0.5, "c": 0.1}
    for known in itertools.product([0, 1], repeat=3):
        outcomes = {name: dict.fromkeys(range(count), values[name]) for name, count in zip(NAMES, known, strict=True)}
        assert rule.wanted(outcomes) == [(name, seed) for seed in (0, 1) for name in NAMES]


@pytest.mark.parametrize(
    "seeds",
    [[], 5, [0, 0], [-1], [0.5], [True], "012", {"at_least": 1, "at_most": 3, "half_width": 0.1}, {"at_least": 3},
     {"at_least": 3, "at_most": 9, "half_width": 0}, {"at_least": 3, "at_most": 9, "half_width": 0.1, "until": 1}],
)  # fmt: skip
def test_what_is_no_rule_for_seeds_is_refused(seeds):
    with pytest.raises(ValueError, match="seed"):
        SeedRule.read(seeds)


@pytest.mark.parametrize("rule", [3, {"after_seeds": 0, "behind": 0.1}, {"after_seeds": 2}, {"behind": 0.1}])
def test_what_is_no_rule_for_hopeless_variants_is_refused(rule):
    with pytest.raises(ValueError, match="stop_hopeless"):
        Hopeless.read(rule)
