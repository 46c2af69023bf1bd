"""What is wrong with a study's file is said with the key and the remedy."""

import pytest
from studies import study_config

from clip_lightning.ablation.study import Study


def test_the_first_variant_is_the_baseline_unless_another_is_named():
    assert Study.read(study_config(), "x").baseline == "narrow"
    assert Study.read(study_config(baseline="wide"), "x").baseline == "wide"


def test_its_name_is_that_of_its_file_unless_it_has_one():
    assert Study.read(study_config(), "x").name == "x"
    assert Study.read(study_config(name="y"), "x").name == "y"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sedes": [1]}, "sedes of the study is not known; did you mean 'seeds'"),
        ({"question": None}, "nothing of its question"),
        ({"source": ""}, "nothing of its source"),
        ({"base": []}, "nothing of its base"),
        ({"base": [3]}, r"base is \[3\]"),
        ({"metrics": ["a"]}, "metrics is"),
        ({"metrics": {"a": "more"}}, "max or min"),
        ({"baseline": "wdie"}, "baseline 'wdie' is no variant; there are: narrow, wide"),
        ({"retries": -1}, "retries is -1"),
        ({"budget": {"samples": 1, "flops": 1}}, "give one of samples"),
        ({"budget": {"samples": -1}}, "budget is"),
        ({"budget": 3}, "budget is 3"),
        ({"executor": 3}, "executor is 3"),
        ({"executor": {"class": "LocalPool"}}, "executor is"),
    ],
)
def test_a_mistake_is_named(changes, words):
    with pytest.raises(ValueError, match=words):
        Study.read(study_config(**changes), "x")
