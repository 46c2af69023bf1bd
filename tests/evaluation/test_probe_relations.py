import numpy as np
import pytest
from scipy.stats import pearsonr

from clip_lightning.evaluation.paper_averages import KORNBLITH, kornblith_average
from clip_lightning.evaluation.probe_relations import pairs_of, zero_shot_minus_probe, zero_shot_over_probe
from clip_lightning.results import Result


def rows(evaluator, values, metric="accuracy", **protocol):
    return [
        Result(f"{evaluator}/{name}/{metric}", value, None, "", 10, 1, metric, protocol, name)
        for name, value in values.items()
    ]


@pytest.fixture
def both():
    rng = np.random.default_rng(0)
    probes = {f"set{place}": float(value) for place, value in enumerate(rng.random(12))}
    return {name: 0.8 * value + 0.1 * float(rng.normal()) for name, value in probes.items()}, probes


def test_the_relation_agrees_with_scipy_and_numpy(both):
    zero_shot, probes = both
    relation = zero_shot_over_probe(rows("zero_shot", zero_shot), rows("linear_probe", probes))
    x, y = np.array(list(probes.values())), np.array(list(zero_shot.values()))
    expected = pearsonr(x, y)
    assert relation.correlation == pytest.approx(expected.statistic)
    assert relation.correlation_interval == pytest.approx(tuple(expected.confidence_interval(0.95)))
    slope, intercept = np.polyfit(x, y, 1)
    assert (relation.slope, relation.intercept) == pytest.approx((slope, intercept))
    residual = y - slope * x - intercept
    half = 2.228139 * np.sqrt((residual**2).sum() / 10 / ((x - x.mean()) ** 2).sum())  # t of 10 degrees of freedom
    assert relation.slope_interval == pytest.approx((slope - half, slope + half), rel=1e-5)


def test_a_perfect_relation_has_an_end_at_1():
    values = {f"set{place}": place / 10 for place in range(5)}
    relation = zero_shot_over_probe(rows("zero_shot", values), rows("linear_probe", values))
    assert relation.correlation == pytest.approx(1)
    assert relation.correlation_interval[1] == pytest.approx(1)


def test_gains_are_sorted(both):
    zero_shot, probes = both
    differences = [
        pair.difference for pair in zero_shot_minus_probe(rows("zero_shot", zero_shot), rows("linear_probe", probes))
    ]
    assert differences == sorted(differences, reverse=True)
    assert sum(differences) == pytest.approx(sum(zero_shot.values()) - sum(probes.values()))


def test_sets_are_matched_by_name_and_metric():
    zero_shot = rows("zero_shot", {"a": 0.5, "b": 0.6}) + rows("zero_shot", {"a": 0.4}, "roc_auc")
    (pair,) = pairs_of(zero_shot, rows("linear_probe", {"a": 0.7}, "roc_auc") + rows("linear_probe", {"c": 0.1}))
    assert pair == ("a", 0.7, 0.4)


def test_what_shows_no_relation_is_refused(both):
    few = rows("zero_shot", {"a": 0.5, "b": 0.6, "c": 0.7})
    with pytest.raises(ValueError, match="3 data sets show no relation"):
        zero_shot_over_probe(few, few)
    with pytest.raises(ValueError, match="no data set has both figures"):
        pairs_of(few, rows("linear_probe", {"d": 0.1}))
    with pytest.raises(ValueError, match="several results are of the same data set"):
        pairs_of([*few, *few], few)


def twelve(stage="pooled"):
    return [
        row
        for place, (name, metric) in enumerate(KORNBLITH.items())
        for row in rows("linear_probe", {name: place / 11}, metric, stage=stage)
    ]


def test_the_average_is_over_twelve_sets_each_by_its_own_metric():
    average = kornblith_average([*twelve(), *rows("linear_probe", {"mnist": 0.1}), *rows("zero_shot", {"dtd": 0.1})])
    assert average.value == pytest.approx(0.5)
    assert (average.n, average.missing, average.protocol["stage"]) == (120, 12, "pooled")
    assert average.interval is None


def test_an_average_that_lacks_a_set_or_mixes_stages_is_refused():
    with pytest.raises(ValueError, match=r"lacks food101 \(accuracy\), voc2007 \(mean_average_precision_11_point\)"):
        kornblith_average([row for row in twelve() if row.source not in ("food101", "voc2007")])
    with pytest.raises(ValueError, match="stages features and pooled"):
        kornblith_average([*twelve()[1:], *twelve("features")[:1]])
