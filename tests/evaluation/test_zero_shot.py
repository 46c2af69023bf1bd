import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score, top_k_accuracy_score
from toy import Fixed, Labels, noisy, run

from clip_lightning.evaluation.zero_shot import ZeroShot


def evaluate(scores, target, classes=8, further=(), **changes):
    return run(ZeroShot(Labels(classes, target=target, further=further)), scores, **changes)


@pytest.fixture
def scored():
    return noisy()


def test_the_figures_agree_with_scikit_learn(scored):
    scores, target = scored
    results = evaluate(scores, target)
    assert results["accuracy"].value == pytest.approx((scores.argmax(axis=1) == target).mean())
    assert results["top_5_accuracy"].value == pytest.approx(top_k_accuracy_score(target, scores, k=5))
    expected = balanced_accuracy_score(target, scores.argmax(axis=1))
    assert results["mean_per_class_accuracy"].value == pytest.approx(expected)


def test_a_result_says_what_it_stands_on(scored):
    results = evaluate(*scored, missing=[400, 401])
    for metric, result in results.items():
        assert result.name == f"zero_shot/toy/{metric}"
        assert (result.n, result.missing, result.source) == (400, 2, "toy")
        assert result.interval[0] < result.value < result.interval[1]
        assert result.protocol["split"] == "test"
        assert result.protocol["templates"] == ["a photo of a {}.", "a {}"]
        assert result.protocol["class_names"][3] == ["thing 3"]
    assert results["accuracy"].items.mean() == pytest.approx(results["accuracy"].value)


def test_an_oracle_is_always_right():
    target = np.arange(80) % 8
    results = evaluate(np.eye(8)[target], target)
    assert [result.value for result in results.values()] == [1.0, 1.0, 1.0]


def test_random_embeds_are_at_chance():
    rng = np.random.default_rng(2)
    rows, classes = (
        v / np.linalg.norm(v, axis=1, keepdims=True) for v in (rng.normal(size=(n, 32)) for n in (4000, 8))
    )
    results = evaluate(rows @ classes.T, np.arange(4000) % 8)
    for metric, chance in [("accuracy", 1 / 8), ("top_5_accuracy", 5 / 8), ("mean_per_class_accuracy", 1 / 8)]:
        low, high = results[metric].interval
        assert low < chance < high


@pytest.mark.parametrize("target", [np.arange(80) % 8, np.zeros(80, dtype=int), np.full(80, 7)])
def test_a_collapsed_model_is_at_chance_not_right(target):
    results = evaluate(np.full((80, 8), 14.3), target)
    assert results["accuracy"].value == pytest.approx(1 / 8)
    assert results["top_5_accuracy"].value == pytest.approx(5 / 8)
    assert results["mean_per_class_accuracy"].value == pytest.approx(1 / 8)


def test_nan_scores_are_wrong():
    target = np.arange(80) % 8
    results = evaluate(np.full((80, 8), np.nan), target)
    assert [result.value for result in results.values()] == [0.0, 0.0, 0.0]


def test_the_order_of_the_classes_does_not_matter(scored):
    scores, target = scored
    order = np.random.default_rng(1).permutation(8)
    permuted = evaluate(scores[:, order], np.argsort(order)[target])
    for metric, result in evaluate(scores, target).items():
        assert permuted[metric].value == pytest.approx(result.value)
        np.testing.assert_array_equal(permuted[metric].items, result.items)


@pytest.mark.parametrize(("classes", "has_top_5"), [(5, False), (6, True)])
def test_top_5_is_for_more_than_five_classes(classes, has_top_5):
    assert ("top_5_accuracy" in evaluate(np.eye(classes), np.arange(classes), classes)) == has_top_5


def test_a_class_with_one_sample_leaves_the_mean_without_interval():
    result = evaluate(np.eye(3), np.arange(3), classes=3)["mean_per_class_accuracy"]
    assert result.interval is None
    assert result.method.startswith("none")


def test_own_templates_replace_those_of_the_data_set():
    evaluator, context = ZeroShot(Labels(2, target=[0, 1]), ["{}"], name="bare"), Fixed(np.eye(2))
    result = evaluator.compute(evaluator.collect(context))[0]
    assert context.prompts == [["thing 0"], ["thing 1"]]
    assert result.protocol["templates"] == ["{}"]
    assert result.name == "bare/toy/accuracy"


@pytest.mark.parametrize("templates", [[], ["a photo"], ["a {}", "a photo"]])
def test_a_template_needs_a_place_for_the_name(templates):
    with pytest.raises(ValueError, match=r"has no place for the name|empty list"):
        ZeroShot(Labels(), templates)


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_without_a_name_is_refused_with_the_names(label):
    with pytest.raises(ValueError, match=rf"\[{label}\].*'thing 0', 'thing 1', 'thing 2'"):
        evaluate(np.eye(3), [0, 1, label], classes=3)


def test_several_labels_a_sample_are_refused():
    with pytest.raises(ValueError, match="'toy': accuracy needs one label a sample; for several use mean_average"):
        evaluate(np.eye(3), np.eye(3, dtype=int), classes=3)


def test_any_accepted_class_is_right_and_the_protocol_says_so():
    target = np.array([0, 1, 2, 3] * 2)
    scores = np.eye(8)[[0, 5, 6, 7] * 2]
    plain, lenient = evaluate(scores, target), evaluate(scores, target, further={1: [5, 4], 6: [6], 7: [0]})
    assert plain["accuracy"].items.tolist() == [1, 0, 0, 0, 1, 0, 0, 0]
    assert lenient["accuracy"].items.tolist() == [1, 1, 0, 0, 1, 0, 1, 0]
    assert lenient["mean_per_class_accuracy"].value == pytest.approx((1 + 0.5 + 0.5 + 0) / 4)
    assert "right" not in plain["accuracy"].protocol
    for result in lenient.values():
        assert result.protocol["right"] == "any accepted class; 3 of 8 samples have more than one"


@pytest.mark.parametrize("further", [{1: [8]}, {1: [-1]}])
def test_an_accepted_label_without_a_name_is_refused(further):
    with pytest.raises(ValueError, match="for sample 1 of label 1; they must be among 0 to 7"):
        evaluate(np.eye(8), np.arange(8), further=further)


def test_a_sample_accepts_its_own_label():
    class Wrong(Labels):
        def accepted(self, index):
            return [3]

    evaluator = ZeroShot(Wrong(target=np.arange(8)))
    with pytest.raises(ValueError, match=r"accepts the labels \[3\] for sample 0 of label 0"):
        evaluator.collect(Fixed(np.eye(8)))


def test_a_metric_of_its_own_comes_first():
    scores, target = noisy(classes=2)
    results = run(ZeroShot(Labels(2, target=target, metric="roc_auc")), scores)
    assert list(results) == ["roc_auc", "accuracy", "mean_per_class_accuracy"]
    assert results["roc_auc"].value == pytest.approx(roc_auc_score(target, scores[:, 1] - scores[:, 0]))
    scores, target = noisy()
    results = run(ZeroShot(Labels(target=target, metric="mean_of_top_1_and_top_5")), scores)
    both = results["accuracy"].value + results["top_5_accuracy"].value
    assert results["mean_of_top_1_and_top_5"].value == pytest.approx(both / 2)


def test_of_several_labels_a_sample_there_is_the_mean_average_precision():
    rng = np.random.default_rng(0)
    target = (rng.random((60, 4)) < 0.3).astype(int)
    dataset = Labels(4, target=target, metric="mean_average_precision_11_point")
    results = run(ZeroShot(dataset), target + 0.1 * rng.random((60, 4)))
    assert list(results) == ["mean_average_precision_11_point"]
    assert results["mean_average_precision_11_point"].value == 1.0
    assert results["mean_average_precision_11_point"].n == 60


def test_a_metric_that_there_is_not_is_refused_before_anything_is_scored():
    with pytest.raises(ValueError, match="there is no metric 'acuracy'; use one of accuracy"):
        ZeroShot(Labels(metric="acuracy"))
    with pytest.raises(ValueError, match="'toy': roc_auc needs samples of two classes"):
        run(ZeroShot(Labels(3, target=[0, 1, 2], metric="roc_auc")), np.eye(3))


def test_a_label_has_the_score_of_its_best_class():
    """As ImageNet-Vid, YouTube-BB and ObjectNet are scored: pooling, not the sum, and before the best is taken."""
    scores = np.array([[0.4, 0.3, 0.3], [0.1, 0.5, 0.4], [0.2, 0.45, 0.35]])
    dataset = Labels(names=[["tabby"], ["pug"], ["siamese"]], pooled=[0, 1, 0], target=[0, 1, 0])
    results = run(ZeroShot(dataset), scores)
    assert results["accuracy"].items.tolist() == [1, 1, 0]
    assert "best of the finer classes" in results["accuracy"].protocol["pooled"]
    rows = results["mean_per_class_accuracy"].details["rows"]
    assert [row["class"] for row in rows] == ["tabby / siamese", "pug"]


def test_a_subset_is_scored_among_its_own_classes():
    """Logits are cut to the subset before the best is taken: the classes of the data set are all that is scored."""
    evaluator, context = ZeroShot(Labels(names=[["pug"], ["tabby"]], target=[1])), Fixed([[0.1, 0.2]])
    results = evaluator.compute(evaluator.collect(context))
    assert context.prompts == [["a photo of a pug.", "a pug"], ["a photo of a tabby.", "a tabby"]]
    assert results[0].value == 1.0


def test_the_details_show_each_class_and_what_is_confused():
    target = np.array([0, 0, 0, 1, 1, 2])
    scores = np.eye(4)[[0, 1, 1, 1, 1, 3]]
    results = run(ZeroShot(Labels(4, target=target)), scores)
    table = results["mean_per_class_accuracy"].details
    assert table["kind"] == "per_class"
    assert [(row["class"], row["n"], row["accuracy"]) for row in table["rows"]] == [
        ("thing 2", 1, 0.0),
        ("thing 0", 3, pytest.approx(1 / 3)),
        ("thing 1", 2, 1.0),
    ]
    assert all(row["interval"][0] <= row["accuracy"] <= row["interval"][1] for row in table["rows"])
    assert results["accuracy"].details == {
        "kind": "confusions",
        "pairs": [
            {"class": "thing 0", "taken_for": "thing 1", "n": 3, "count": 2},
            {"class": "thing 2", "taken_for": "thing 3", "n": 1, "count": 1},
        ],
    }
    assert results["accuracy"].protocol["labels_without_images"] == ["thing 3"]


@pytest.mark.parametrize("value", [14.3, np.nan])
def test_a_model_that_tells_nothing_apart_confuses_no_pair(value):
    results = evaluate(np.full((80, 8), value), np.arange(80) % 8)
    assert results["accuracy"].details["pairs"] == []


class Described(Labels):
    """Each class has texts of its own."""

    texts = (["striped like a tiger"], ["long ears", "hops"])

    def prompts(self, templates=None):
        return [list(own) for own in self.texts] if templates is None else super().prompts(templates)


def test_classes_may_have_texts_of_their_own():
    dataset = Described(names=[["cat"], ["hare"]], target=[0, 1])
    evaluator, context = ZeroShot(dataset), Fixed(np.eye(2))
    result = evaluator.compute(evaluator.collect(context))[0]
    assert context.prompts == [["striped like a tiger"], ["long ears", "hops"]]
    assert result.protocol["templates"] == "texts of each class's own"
    assert result.protocol["prompts"] == context.prompts
    assert run(ZeroShot(dataset, ["a {}"]), np.eye(2))["accuracy"].protocol["templates"] == ["a {}"]


def test_every_class_needs_a_text():
    with pytest.raises(ValueError, match="'toy' has 3 classes, but texts for 2, of which 0 have none"):
        ZeroShot(Described(3))
