import numpy as np
import pytest
from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES, OPENAI_IMAGENET_TEMPLATES

from clip_lightning.reference import compare, published
from clip_lightning.reference.comparison import digest
from clip_lightning.results import Result

IMAGENET = {
    "class_names": [[name] for name in IMAGENET_CLASSNAMES],
    "templates": [template("{}") for template in OPENAI_IMAGENET_TEMPLATES],
}


def row(source, metric, n, value=0.5, **protocol):
    return Result(f"x/{source}/{metric}", value, None, "", n, 0, metric, protocol, source)


def values(evaluator, model):
    return [figure.value for figure in published() if (figure.evaluator, figure.model) == (evaluator, model)]


def test_the_tables_are_whole():
    models = {figure.model for figure in published() if figure.evaluator == "zero_shot"}
    assert len(models) == 9
    for evaluator in ("zero_shot", "linear_probe"):
        assert {len(values(evaluator, model)) for model in models} == {27}
    assert all(0.1 < figure.value < 1 and figure.n > 0 for figure in published())


def test_what_was_not_read_from_its_source_says_so():
    said = {figure.table.partition(",")[0]: figure.confidence for figure in published()}
    assert said["open_clip"] == ""
    assert said["Radford et al. 2021 (arXiv 2103.00020)"].startswith("written down from memory of the paper")


@pytest.mark.parametrize(
    ("evaluator", "model", "mean"),  # over the 27 data sets
    [("zero_shot", "RN50", 54.7), ("zero_shot", "RN50x64", 66.1), ("zero_shot", "ViT-L/14@336px", 67.6)],
)
def test_columns_and_rows_have_kept_their_places(evaluator, model, mean):
    assert 100 * np.mean(values(evaluator, model)) == pytest.approx(mean, abs=0.05)


def test_some_figures_are_where_they_were_published():
    found = {(figure.evaluator, figure.model, figure.source, figure.metric): figure.value for figure in published()}
    assert found["linear_probe", "ViT-L/14", "fgvc_aircraft", "mean_per_class_accuracy"] == pytest.approx(0.694)
    assert found["zero_shot", "ViT-B/32", "imagenet", "accuracy"] == pytest.approx(0.632)
    assert found["zero_shot", "RN50", "voc2007", "mean_average_precision_11_point"] == pytest.approx(0.821)


def test_a_difference_is_given_where_all_is_alike():
    reference = compare(row("imagenet", "accuracy", 50_000, 0.64, **IMAGENET), "zero_shot", "ViT-B/32")
    assert reference.reason == ""
    assert reference.difference == pytest.approx(0.008)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"n": 49_999}, "different protocol: n 49,999, published 50,000"),
        ({"templates": ["a photo of a {}."]}, "different protocol: other templates"),
        ({"class_names": [["a"]], "n": 1}, "different protocol: n 1, published 50,000; other class names"),
    ],
)
def test_else_the_reason_is(changes, reason):
    given = {"source": "imagenet", "metric": "accuracy", "n": 50_000, **IMAGENET, **changes}
    reference = compare(row(**given), "zero_shot", "ViT-B/32")
    assert (reference.difference, reference.reason) == (None, reason)


def test_accuracy_of_crops_is_no_mean_average_precision():
    reference = compare(row("voc2007", "accuracy", 14_976, 0.651), "zero_shot", "RN50")
    assert reference.difference is None
    assert "metric accuracy, published mean average precision 11 point" in reference.reason
    assert reference.figure.value == pytest.approx(0.821)


def test_a_probe_behind_the_projection_is_another_probe():
    before, behind, unknown = (
        compare(row("cifar10", "accuracy", 10_000, 0.95, **stage), "linear_probe", "ViT-B/32")
        for stage in ({"stage": "pooled"}, {"stage": "features"}, {})
    )
    assert before.difference == pytest.approx(-0.001)
    assert behind.reason == "different protocol: stage 'features', published 'pooled'"
    assert unknown.reason == "different protocol: stage not recorded"


@pytest.mark.parametrize(("prefix", "value"), [("a photo of", 0.880), ("", 0.877), ("the", None)])
def test_the_prefix_decides_which_retrieval_was_alike(prefix, value):
    metric = "image_to_text_recall_at_1"
    reference = compare(row("flickr30k", metric, 1000, 0.9, text_prefix=prefix), "retrieval", "ViT-L/14@336px")
    if value is None:
        assert reference.reason.startswith("different protocol: text prefix 'the'")
    else:
        assert reference.difference == pytest.approx(0.9 - value)


def test_nothing_was_published_of_other_data_models_and_ranks():
    assert compare(row("shapes", "accuracy", 10), "zero_shot", "ViT-B/32") is None
    assert compare(row("cifar10", "accuracy", 10), "zero_shot", "my model") is None
    assert compare(row("flickr30k", "image_to_text_median_rank", 1000), "retrieval", "ViT-B/32") is None


def test_a_digest_is_of_what_the_tokeniser_sees():
    assert digest(["a photo of a {}.", "{}"]) == digest(["{}", " A  photo of a {}."])
    assert digest([["cat", "tabby"], ["dog"]]) == digest([["dog"], ["tabby", "cat"]])
    assert digest([["cat", "dog"]]) != digest([["cat"], ["dog"]])
