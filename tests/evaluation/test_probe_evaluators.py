"""``LinearProbe`` and ``FewShot`` on real digits, seen by a small encoder of random weights."""

import functools

import numpy as np
import pytest
import torch
from toy import Labels

from clip_lightning.data import Digits
from clip_lightning.data.features import Features
from clip_lightning.evaluation import FewShot, LinearProbe, ZeroShot, linear_probe


class Encoded:
    """A context of a tiny model: one random layer, and a projection after it that keeps little."""

    def __init__(self, zero_shot=None, missing=()):
        generator = torch.Generator().manual_seed(0)
        self.encoder = torch.nn.Sequential(torch.nn.Linear(64, 48), torch.nn.ReLU()).requires_grad_(False)
        self.encoder[0].weight.copy_(torch.randn(48, 64, generator=generator) / 8)
        self.projection = torch.randn(48, 3, generator=generator)
        self.zero_shot, self.missing = zero_shot, missing

    def images(self, source, stage="features"):
        index = np.array([place for place in range(len(source)) if place not in self.missing])
        pixels = np.stack([source.read(int(place)).image[..., 0].ravel() for place in index]) / 255
        pooled = self.encoder(torch.from_numpy(pixels).float())
        rows = pooled if stage == "pooled" else pooled @ self.projection
        return Features(rows.numpy(), index, dict.fromkeys(self.missing, "torn"))

    def class_scores(self, source, prompts):
        rng = np.random.default_rng(0)
        target = Digits("test").targets(np.arange(300))
        wrong = rng.random(300) > self.zero_shot
        return np.eye(10)[np.where(wrong, (target + 1) % 10, target)]


def run(evaluator, context):
    rows = evaluator.compute(evaluator.collect(context))
    assert [row.name for row in rows] == evaluator.reports
    return rows


@pytest.fixture(scope="module")
def digits():
    return {split: Digits(split) for split in ("train", "val", "test")}


def test_the_probe_is_the_function_on_the_features_before_the_projection(digits):
    context = Encoded()
    (row,) = run(LinearProbe(digits["train"], digits["test"], digits["val"]), context)
    arguments = [
        part
        for dataset in digits.values()
        for part in (context.images(dataset.source, "pooled").values, dataset.targets(np.arange(len(dataset))))
    ]
    expected = linear_probe(*arguments)
    assert (row.name, row.n, row.missing) == ("linear_probe/digits/accuracy", 300, 0)
    assert row.value == expected.value > 0.7
    assert row.interval[0] < row.value < row.interval[1]
    assert row.items.mean() == pytest.approx(row.value)
    assert row.protocol["stage"] == "pooled"
    assert row.protocol["c"] == expected.c
    assert row.protocol["train"] == "train, 1,197 images"
    assert row.protocol["val"] == "val, 300 images"
    assert row.details["kind"] == "probe_search"
    assert len(row.details["fits"]) <= 15
    assert row.details["chosen"] == pytest.approx(1 / expected.c)


def test_after_the_projection_is_another_figure_and_the_protocol_says_so(digits):
    (row,) = run(LinearProbe(digits["train"], digits["test"], stage="features"), Encoded())
    assert row.protocol["stage"] == "features"
    assert row.protocol["val"] == "20% of train, class by class"
    assert 0.2 < row.value < 0.7


def test_images_that_cannot_be_read_are_counted(digits):
    (row,) = run(LinearProbe(digits["train"], digits["test"], stage="features"), Encoded(missing=(3, 5)))
    assert (row.n, row.missing) == (298, 2)
    assert row.protocol["train"] == "train, 1,195 images, 2 not read"


def test_few_shots(digits):
    evaluator = FewShot(digits["train"], digits["test"], digits["val"], shots=(2, 1, 8), seeds=(0, 1, 2))
    eight, two, one = run(evaluator, Encoded(zero_shot=0.6))
    assert eight.name == "few_shot/digits/accuracy_of_8_shots"
    assert one.value < two.value < eight.value
    for row in (eight, two, one):
        assert row.interval[0] < row.value < row.interval[1]
        assert row.method == "t over 3 draws"
    assert eight.protocol["c"] == "chosen for each draw on 4 images a class, drawn from val"
    assert one.details is None
    details = eight.details
    assert [point["shots"] for point in details["points"]] == [1, 2, 8, 119.7]
    assert [len(point["values"]) for point in details["points"]] == [3, 3, 3, 1]
    assert details["points"][2]["mean"] == eight.value
    assert details["zero_shot"] == pytest.approx(0.6, abs=0.06)
    assert 1 < details["zero_shot_is_worth"]["shots"] < 119.7


def test_without_zero_shot_no_text_is_asked_for(digits):
    evaluator = FewShot(digits["train"], digits["test"], shots=(1,), zero_shot=False, full=False, stage="features")
    (row,) = run(evaluator, Encoded())
    assert set(row.details) == {"kind", "points"}
    assert row.protocol["c"].endswith("drawn from train")


def test_of_a_model_without_texts_the_probes_remain(digits):
    evaluator = FewShot(digits["train"], digits["test"], shots=(1,), full=False, stage="features")
    assert evaluator.without({"text_embeds"}) is evaluator
    probes = evaluator.without({"class_scores", "text_embeds"})
    assert set(run(probes, Encoded())[0].details) == {"kind", "points"}
    assert evaluator.zero_shot
    assert LinearProbe(digits["train"], digits["test"]).without({"class_scores"}) is not None
    assert ZeroShot(digits["test"]).without({"class_scores"}) is None


def test_more_shots_than_images_are_refused(digits):
    evaluator = FewShot(digits["train"], digits["test"], shots=(116,), zero_shot=False)
    with pytest.raises(
        ValueError, match=r"'digits' has 11. training images of '.', too few for 116 shots, and 4 to cho"
    ):
        evaluator.collect(Encoded())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seeds": (0, 0, 1)}, "must be three different ones"),
        ({"shots": (0, 1)}, "must be numbers of images from 1 up"),
        ({"stage": "projected"}, "no stage 'projected'; use one of pooled, features"),
    ],
)
def test_few_shots_that_make_no_sense_are_refused(digits, arguments, message):
    with pytest.raises(ValueError, match=message):
        FewShot(digits["train"], digits["test"], **arguments)


def test_parts_must_be_of_one_data_set():
    with pytest.raises(ValueError, match="train has 3 labels and is rated by accuracy, but test has 4 and accuracy"):
        LinearProbe(Labels(3), Labels(4))
    with pytest.raises(ValueError, match="val has 4 labels and is rated by roc_auc"):
        LinearProbe(Labels(4), Labels(4), Labels(4, metric="roc_auc"))
    with pytest.raises(ValueError, match="no stage 'pool'"):
        LinearProbe(Labels(4), Labels(4), stage="pool")
    with pytest.raises(ValueError, match="several labels; shots of a class"):
        FewShot(*[Labels(4, metric="mean_average_precision_11_point")] * 2)


class Shown:
    """A context whose rows tell the class that an image shows, by the name of the set."""

    def __init__(self, **shown):
        self.shown = shown

    def images(self, source, stage):
        rows = 4 * np.eye(3, dtype=np.float32)[self.shown[source]]
        return Features(rows, np.arange(len(rows)), {})

    def class_scores(self, source, prompts):
        return np.eye(3)[self.shown[source]]


@pytest.mark.parametrize("make", [LinearProbe, functools.partial(FewShot, shots=(1,))])
def test_any_accepted_label_is_a_hit_of_a_probe_as_of_zero_shot(make):
    """The last image shows class 2 and is labelled 1; a test set may accept both."""
    train = np.arange(30) % 3
    values = []
    for further in ({}, {29: [2]}):
        test = Labels(3, target=[*train[:29], 1], further=further)
        evaluator = make(Labels(3, target=train, name="train"), test, Labels(3, target=train, name="train"))
        (row,) = run(evaluator, Shown(train=train, toy=train))
        values.append((row.value, row.details.get("zero_shot", row.value), row.protocol.get("right")))
    right = "any accepted class; 1 of 30 samples have more than one"
    assert values == [(pytest.approx(29 / 30), pytest.approx(29 / 30), None), (1.0, 1.0, right)]


class Rows:
    """A context of given rows."""

    def images(self, source, stage):
        return Features(np.zeros((4, 2)), np.arange(4), {9: "torn"})


def test_a_class_without_training_images_is_named():
    evaluator = LinearProbe(Labels(3, target=[0, 0, 2, 2]), Labels(3, target=[0, 1, 2, 2]))
    with pytest.raises(ValueError, match=r"'toy' has no images of 'thing 1' to train a probe with.*\(1 could not be"):
        evaluator.collect(Rows())


def test_a_label_without_a_name_is_refused():
    evaluator = LinearProbe(Labels(2, target=[0, 1, 1, 0]), Labels(2, target=[0, 1, 2, 2]))
    with pytest.raises(ValueError, match=r"has the labels \[2\]"):
        evaluator.collect(Rows())
