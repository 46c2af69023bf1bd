import dataclasses
import math

import numpy as np
import pytest
from page import Page, addresses

from clip_lightning.reports.evaluation import Evaluated, evaluation_report
from clip_lightning.reports.rendering import to_html, to_markdown
from clip_lightning.results import Comparison, Result, read_results, write_results

NASTY = "<script>alert(1)</script>"
PROBE = {"stage": "pooled"}


def row(evaluator, source, metric="accuracy", value=0.5, **changes):
    given = {"interval": (value - 0.01, value + 0.01), "method": "wilson", "n": 10_000, "missing": 0, **changes}
    return Result(f"{evaluator}/{source}/{metric}", value, metric=metric, source=source, **given)


def as_probes(rows, value):
    """The same rows of another evaluator, with another value."""
    return [
        dataclasses.replace(one, name=one.name.replace("zero_shot", "linear_probe"), value=value(one)) for one in rows
    ]


def page(*models, **facts):
    html = to_html(evaluation_report(models, facts))
    assert addresses(html) == set()
    return Page(html)


def table(found, *head):
    """The first table whose head begins so, without the head."""
    return next(rows[1:] for rows in found.tables if rows[0][: len(head)] == list(head))


ROWS = [
    row("zero_shot", "cifar10", value=0.913),
    row("zero_shot", "cifar10", "top_5_accuracy", 0.99),
    row("zero_shot", "voc2007", value=0.651, n=14_976, missing=3),
    row("zero_shot", "shapes", "mean_per_class_accuracy", math.nan, interval=None, method="none: too few"),
    row("linear_probe", "cifar10", value=0.961, protocol=PROBE),
    row("linear_probe", "voc2007", "mean_average_precision_11_point", 0.87, n=4952, protocol=PROBE),
    row("calibration", "cifar10", "negative_log_likelihood", 1.4321, interval=(1.4, 1.5), unit="nats"),
    row("retrieval", "pairs", "text_to_image_median_rank", 3.5, interval=(3, 4), unit="ranks"),
]


def test_every_result_is_in_the_table_of_its_family():
    found = page(Evaluated("m", ROWS))
    rows = [cells for head, *body in found.tables if head[:2] == ["Data set", "Metric"] for cells in body]
    assert rows == [
        ["CIFAR-10", "accuracy", "91.3", "90.3-92.3", "10,000", "0"],
        ["", "top-5 accuracy", "99.0", "98.0-100.0", "10,000", "0"],
        ["PASCAL VOC 2007", "accuracy", "65.1", "64.1-66.1", "14,976", "3"],
        ["shapes", "mean per class accuracy", "nan", "—", "10,000", "0"],
        ["CIFAR-10", "accuracy", "96.1", "95.1-97.1", "10,000", "0"],
        ["PASCAL VOC 2007", "mean average precision (11 points)", "87.0", "86.0-88.0", "4,952", "0"],
        ["pairs", "text to image median rank", "3.5 ranks", "3-4", "10,000", "0"],
        ["CIFAR-10", "negative log likelihood", "1.432 nats", "1.4-1.5", "10,000", "0"],
    ]


def test_published_figures_stand_beside_those_measured_alike():
    found = page(Evaluated("m", ROWS, published_as="ViT-B/32"))
    probes = [rows for rows in found.tables if "Published" in rows[0]][1]
    assert [cells[-2:] for cells in probes[1:]] == [["95.1†", "+1.0"], ["87.7†", "-0.7"]]
    zero_shot = table(found, "Data set", "Metric", "Value", "95 % interval", "n", "Missing", "Published")
    assert [cells[-2:] for cells in zero_shot] == [["91.3†", "—¹"], ["", ""], ["83.1†", "—²"], ["", ""]]
    assert "† Radford et al. 2021 (arXiv 2103.00020), table 11: written down from memory" in found.text
    assert "² different protocol: metric accuracy, published mean average precision" in found.text


def test_the_summary_gives_means_ends_and_what_is_missing():
    found = page(Evaluated("m", ROWS, {"samples seen": "12"}, absent={"birdsnap": f"not here {NASTY}"}), command="c")
    first = table(found, "Measured")
    ends = "65.1 (PASCAL VOC 2007) to 91.3 (CIFAR-10)"
    assert first[0] == ["Zero-shot classification", "3 data sets", "78.2 %", "± 1.0 to ± 1.0", ends]
    assert first[-1] == ["Calibration", "CIFAR-10, negative log likelihood", "1.432 nats", "1.4-1.5", ""]
    assert "3 samples of 1 data set could not be evaluated" in found.text
    assert table(found, "Model", "What") == [["m", "birdsnap", f"not here {NASTY}"]]
    assert "samples seen12" in found.text.replace("\n", "")


def test_missing_samples_have_their_reasons():
    found = page(Evaluated("m", ROWS, unreadable={"voc2007": {"empty file": 3}}))
    assert table(found, "Model", "Data set", "Missing") == [["m", "PASCAL VOC 2007", "3", "14,976", "empty file (3)"]]


def test_an_average_is_no_data_set():
    average = {"value": 0.95, "protocol": {**PROBE, "metrics": {"cifar10": "accuracy"}}, "interval": None}
    rows = [*as_probes(ROWS[:1], lambda _: 0.8), row("linear_probe", "kornblith_12", "mean", **average)]
    found = page(Evaluated("m", rows))
    assert [cells[:3] for cells in table(found, "Measured")] == [
        ["Linear probes", "CIFAR-10, accuracy", "80.0 %"],
        ["Linear probes", "Mean of the Kornblith 12, mean", "95.0 %"],
    ]
    assert "2 figures on 1 data set." in found.text


def test_protocols_are_said_once_and_cut():
    protocol = {"class_names": [[f"name {number}", "other"] for number in range(1000)], "templates": ["a {}, b"]}
    rows = [row("zero_shot", "a", metric, protocol=protocol) for metric in ("accuracy", "top_5_accuracy")]
    found = page(Evaluated("m", rows))
    assert found.text.count("name 11 / other") == 1
    assert "name 12 / other" not in found.text
    assert "1,000 in all" in found.text
    assert "zero_shot/a: accuracy, top_5_accuracy" in found.text


DETAILS = [
    {"kind": "reliability", "bins": 15, "rows": [{"confidence": 0.5, "accuracy": 0.4, "interval": [0.3, 0.5], "n": 9}]},
    {"kind": "risk_coverage", "coverage": [0.5, 1.0], "risk": [0.1, 0.25]},
    {"kind": "templates", "metric": "accuracy", "rows": [{"template": f"{NASTY} {{}}", "value": 0.4}]},
    {"kind": "confusions", "pairs": [{"class": NASTY, "taken_for": "b", "n": 4, "count": 3}]},
    {"kind": "per_class", "rows": [{"class": NASTY, "n": 4, "accuracy": 0.25, "interval": [0.0, 0.5]}]},
    {
        "kind": "probe_search",
        "chosen": 1.0,
        "fits": [{"strength": at, "value": 0.8 - abs(at - 1) / 9} for at in (9, 1, 0.1)],
    },
    {
        "kind": "few_shot_curve",
        "points": [{"shots": at, "mean": at / 10, "values": [at / 10, at / 9]} for at in (1, 2, 4)],
        "zero_shot": 0.3,
        "zero_shot_is_worth": {"shots": 2.8284},
    },
]


@pytest.mark.parametrize(
    ("details", "said"),
    [
        (DETAILS[0], "shapes +10.0 points (overconfident)"),
        (DETAILS[1], "shapes 25.0 to 10.0 %"),
        (DETAILS[2], "shapes 40.0 to 40.0 % with 1 template"),
        (DETAILS[3], f"most often {NASTY} for b, 75.0 % of its samples"),
        (DETAILS[4], "the median of 1 class is 25.0 %, below one half: 1, never right: 0"),
        (DETAILS[5], "the chosen one is orange"),
        (DETAILS[6], "Zero-shot is worth 2.8 images a class on shapes"),
    ],
    ids=lambda one: one["kind"] if isinstance(one, dict) else "",
)
def test_details_are_drawn_and_the_caption_says_what_is_found(details, said):
    found = page(Evaluated("m", [row("evaluator", "shapes", details=details)]))
    assert said in found.text
    assert len(found.pictures) == (details["kind"] not in ("confusions", "per_class"))
    assert "script" not in found.tags


def test_of_many_classes_the_ends_are_drawn_and_all_are_listed():
    rows = [
        {"class": f"class {number}", "n": 50, "accuracy": number / 1000, "interval": None} for number in range(1000)
    ]
    found = page(Evaluated("m", [row("zero_shot", "imagenet", details={"kind": "per_class", "rows": rows})]))
    assert len(table(found, "Class")) == 1000
    assert "The worst and the best 20 are drawn." in found.text
    assert len(found.pictures[0]) < 200_000


def test_many_data_sets_have_a_forest_and_zero_shot_stands_beside_probes():
    sets = ["cifar10", "dtd", "mnist", "stl10"]
    rows = [row("zero_shot", name, value=value) for name, value in zip(sets, (0.9, 0.4, 0.5, 0.97), strict=True)]
    found = page(Evaluated("m", [*rows, *as_probes(rows, lambda one: one.value + 0.02)]))
    assert len(found.pictures) == 3
    assert "the median of 4 data sets is 70.0 %" in found.text
    assert (
        "above it on 0, within 3 points of it on 4. Correlation r = 1.00 (1.00 to 1.00), slope 1.00 (1.00 to 1.00)."
        in found.text
    )


def test_what_is_easily_misread_is_explained():
    rows = [row("out_of_distribution", "shapes_words", "area_under_roc", 0.2)]
    rows += [row("zero_shot", "dtd", interval=None, method="none: all are equal"), row("zero_shot", "mnist", value=0.6)]
    text = page(Evaluated("m", [*rows, *as_probes(rows[1:2], lambda _: 0.8)])).text
    assert "An area below 50: the model is surer of images of none of the classes than of known ones (shapes_wo" in text
    assert "Intervals: wilson.\nNo interval: accuracy of DTD: all are equal." in text
    assert "against the probes of the same model from two data sets" in text
    assert "here only DTD is." in text
    assert "An area below 50" not in page(Evaluated("m", ROWS)).text


def models():
    rows, better = ([row("zero_shot", source, value=value) for source in ("dtd", "mnist")] for value in (0.5, 0.6))
    comparisons = [
        Comparison("zero_shot/dtd/accuracy", "b", "a", 0.1, (0.08, 0.12), 0.0001, "paired bootstrap", 100),
        Comparison("zero_shot/mnist/accuracy", "b", "a", -0.001, (-0.02, 0.018), None, "paired bootstrap", 100),
    ]
    probes = as_probes(rows, lambda _: 0.55)
    return Evaluated("a", rows), Evaluated("b", better, comparisons=comparisons), Evaluated("timm:r", probes)


def test_models_stand_side_by_side_with_their_paired_differences():
    found = page(*models())
    assert table(found, "Measured", "Data set")[:2] == [
        ["Zero-shot classification", "DTD", "accuracy", "50.0", "60.0", ""],
        ["", "MNIST", "accuracy", "50.0", "60.0", ""],
    ]
    assert [cells[-3:] for cells in table(found, "Model", "Measured", "Data set", "Metric")] == [
        ["+10.0", "+8.0 to +12.0", "<0.001"],
        ["-0.1", "-2.0 to +1.8", "—"],
    ]
    assert "b has higher figures than a in 1 of 2 comparisons and lower ones in 0" in found.text


def test_figures_with_units_are_compared_in_the_table_alone():
    rows = [row("calibration", "dtd", "negative_log_likelihood", 1.5, unit="nats")]
    comparison = Comparison(rows[0].name, "b", "a", -0.25, None, None, "none", 100)
    found = page(Evaluated("a", rows), Evaluated("b", rows, comparisons=[comparison]))
    assert table(found, "Model", "Measured", "Data set", "Metric")[0][-3:] == ["-0.25 nats", "—", "—"]
    assert not found.pictures


def test_zero_shot_is_set_against_the_probes_of_a_supervised_model():
    text = page(*models()).text
    assert "above the probe of timm:r on 0 of 2 data sets" in text
    assert "above the probe of timm:r on 2 of 2 data sets" in text


def test_few_shots_of_several_encoders_are_in_one_picture_with_the_zero_shot_of_those_that_take_texts():
    alone = {key: value for key, value in DETAILS[6].items() if not key.startswith("zero_shot")}
    of = {"a": DETAILS[6], "timm:r": alone}
    rows = {name: [row("few_shot", "dtd", "accuracy_of_4_shots", details=one)] for name, one in of.items()}
    found = page(*(Evaluated(name, own) for name, own in rows.items()))
    assert len(found.pictures) == 3
    assert "With 4 images a class: a 40.0 %, timm:r 40.0 %. Dashed, zero-shot classification: a 30.0 %." in found.text


def test_results_as_read_from_a_file_are_drawn_alike(tmp_path):
    rows = [row("evaluator", "a", details=DETAILS[0]), row("evaluator", "b", details=DETAILS[3])]
    rows.append(row("evaluator", "other", value=math.inf, items=np.ones(3)))
    write_results(tmp_path / "results.json", rows)
    again = read_results(tmp_path / "results.json")
    assert to_html(evaluation_report([Evaluated("m", again)], {})) == to_html(
        evaluation_report([Evaluated("m", rows)], {})
    )


def test_markdown_has_the_same_cells():
    markdown = to_markdown(evaluation_report([Evaluated("m", ROWS[:1], published_as="ViT-B/32")], {}))
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in markdown.splitlines() if "CIFAR-10" in line]
    assert cells[-1][:3] == ["CIFAR-10", "accuracy", "91.3"]
    assert cells[-1][4:] == ["10,000", "0", "91.3†", "—¹"]


@pytest.mark.parametrize("names", [[], ["a", "a"]])
def test_models_need_names_of_their_own(names):
    with pytest.raises(ValueError, match="a report needs models of different names"):
        evaluation_report([Evaluated(name, ROWS) for name in names], {})


def test_a_model_without_results_has_a_page():
    assert "0 figures on 0 data sets" in page(Evaluated("m", [])).text
