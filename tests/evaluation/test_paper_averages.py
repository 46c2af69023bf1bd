import pytest

from clip_lightning.evaluation.paper_averages import KORNBLITH, averages_of, kornblith_average
from clip_lightning.results import Result


def rows(evaluator, values, metric="accuracy", **protocol):
    return [
        Result(f"{evaluator}/{name}/{metric}", value, None, "", 10, 1, metric, protocol, name)
        for name, value in values.items()
    ]


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


def test_an_average_is_there_when_all_of_its_sets_are():
    (average,) = averages_of([*twelve(), *rows("zero_shot", {"dtd": 0.1})])
    assert average == kornblith_average(twelve())
    assert averages_of(twelve()[1:]) == []
    assert averages_of([]) == []
