import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, precision_recall_curve, roc_auc_score, top_k_accuracy_score

from clip_lightning.evaluation.metrics import gain, measure, value_of

MULTI_LABEL = "mean_average_precision_11_point"


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def scored(rng):
    target = rng.choice(8, size=400, p=np.arange(1, 9) / 36)
    return rng.normal(size=(400, 8)) + 1.5 * np.eye(8)[target], target


@pytest.fixture
def tagged(rng):
    """Several labels a sample, and scores that are often equal."""
    target = (rng.random((300, 5)) < 0.3).astype(int)
    return np.round(rng.normal(size=(300, 5)) + target, 1), target


def voc_2007(scores, positive):
    """The development kit's rule, on scikit-learn's precision and recall."""
    precision, recall, _ = precision_recall_curve(positive, scores)
    precision, recall = precision[:-1], recall[:-1]  # Its last point, of no sample, is no part of the curve.
    return np.mean([precision[recall >= k / 10 - 1e-12].max() for k in range(11)])


@pytest.mark.parametrize("metric", ["accuracy", "top_5_accuracy", "mean_per_class_accuracy", "mean_of_top_1_and_top_5"])
def test_means_agree_with_scikit_learn(scored, metric):
    scores, target = scored
    top_1, top_5 = (top_k_accuracy_score(target, scores, k=k) for k in (1, 5))
    expected = {
        "accuracy": top_1,
        "top_5_accuracy": top_5,
        "mean_per_class_accuracy": balanced_accuracy_score(target, scores.argmax(axis=1)),
        "mean_of_top_1_and_top_5": (top_1 + top_5) / 2,
    }[metric]
    measured = measure(metric, scores, target)
    assert measured.value == value_of(metric, scores, target) == pytest.approx(expected)
    assert measured.interval[0] < expected < measured.interval[1]
    assert len(measured.items) == 400


def test_average_precision_at_11_points_is_that_of_the_development_kit(tagged):
    scores, target = tagged
    expected = np.mean([voc_2007(scores[:, label], target[:, label]) for label in range(5)])
    measured = measure(MULTI_LABEL, scores, target)
    assert measured.value == value_of(MULTI_LABEL, scores, target) == pytest.approx(expected)
    assert measured.interval[0] < expected < measured.interval[1]
    assert (measured.method, measured.items) == ("bootstrap", None)


def test_average_precision_at_11_points_by_hand():
    """Hits at places 1, 3 and 6 of 6: precision 1, 2/3 and 1/2 for recalls up to 1/3, 2/3 and 1."""
    target = np.array([[1], [0], [1], [0], [0], [1]])
    expected = (4 * 1 + 3 * 2 / 3 + 4 * 1 / 2) / 11
    assert value_of(MULTI_LABEL, -np.arange(6.0)[:, None], target) == pytest.approx(expected)


def test_average_precision_is_over_the_classes_that_occur(tagged):
    scores, target = tagged
    target[:, 2] = 0
    expected = np.mean([voc_2007(scores[:, label], target[:, label]) for label in (0, 1, 3, 4)])
    assert value_of(MULTI_LABEL, scores, target) == pytest.approx(expected)


def test_a_hit_counted_often_is_the_hit_repeated(tagged):
    """The resampling's counts mean the same as the samples drawn."""
    from clip_lightning.evaluation.ranking import Ranking

    scores, positive = tagged[0][:, 0], tagged[1][:, 0] == 1
    drawn = np.random.default_rng(1).integers(300, size=300)
    counts, ranking = np.bincount(drawn, minlength=300), Ranking.of(scores, positive)
    expected = voc_2007(scores[drawn], positive[drawn]), roc_auc_score(positive[drawn], scores[drawn])
    assert (ranking.average_precision_11_point(counts), ranking.roc_auc(counts)) == pytest.approx(expected)


def test_the_area_under_the_roc_agrees_with_scikit_learn(rng):
    target = (rng.random(300) < 0.3).astype(int)
    scores = np.round(rng.normal(size=(300, 2)), 1)
    scores[:, 1] += target
    measured = measure("roc_auc", scores, target)
    assert measured.value == pytest.approx(roc_auc_score(target, scores[:, 1] - scores[:, 0]))
    assert measured.interval[0] < measured.value < measured.interval[1]


def test_a_collapsed_model_is_at_chance():
    target = np.repeat([0, 1], [70, 30])
    assert value_of("roc_auc", np.zeros((100, 2)), target) == 0.5
    assert value_of(MULTI_LABEL, np.zeros((100, 1)), target[:, None]) == pytest.approx(0.3)
    assert value_of("mean_of_top_1_and_top_5", np.zeros((10, 10)), np.arange(10)) == pytest.approx(0.3)


def test_an_oracle_has_everything():
    target = np.arange(40) % 2
    assert value_of("roc_auc", np.eye(2)[target], target) == 1.0
    assert value_of(MULTI_LABEL, np.eye(2)[target], np.eye(2, dtype=int)[target]) == 1.0


def test_nan_is_the_worst():
    target = np.arange(40) % 2
    assert value_of("roc_auc", np.full((40, 2), np.nan), target) == 0.0
    one_lost = -np.arange(6.0)[:, None]
    one_lost[0] = np.nan
    hits = np.array([[1], [0], [1], [0], [0], [1]])
    moved = np.array([[0], [1], [0], [0], [1], [1]])
    assert value_of(MULTI_LABEL, one_lost, hits) == value_of(MULTI_LABEL, -np.arange(6.0)[:, None], moved)


def test_the_order_of_the_classes_does_not_matter(tagged, scored):
    order = np.random.default_rng(1).permutation(5)
    scores, target = tagged
    assert value_of(MULTI_LABEL, scores[:, order], target[:, order]) == pytest.approx(value_of(MULTI_LABEL, *tagged))


def test_any_accepted_class_is_right():
    accepted = np.array([[True, True], [False, True]])
    measured = measure("accuracy", np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([0, 1]), accepted)
    assert measured.items.tolist() == [1.0, 0.0]


def test_what_shows_no_spread_has_no_interval():
    measured = measure("roc_auc", np.eye(2)[[0, 1]], np.array([0, 1]))
    assert (measured.value, measured.interval) == (1.0, None)
    assert measured.method.startswith("none")


@pytest.mark.parametrize(
    ("metric", "classes", "target", "message"),
    [
        ("precision", 2, np.array([0, 1]), "no metric 'precision'; use one of accuracy, top_5"),
        ("accuracy", 2, np.eye(2, dtype=int), "needs one label a sample"),
        ("roc_auc", 3, np.array([0, 1]), "two classes, 0 and 1; there are 3"),
        ("roc_auc", 2, np.array([1, 1]), "two classes"),
        (MULTI_LABEL, 2, np.array([0, 1]), "0 or 1 for each sample and class"),
        (MULTI_LABEL, 2, np.zeros((2, 2), dtype=int), "a sample of one class at least"),
    ],
)
def test_what_is_not_defined_is_refused(metric, classes, target, message):
    with pytest.raises(ValueError, match=message):
        measure(metric, np.zeros((2, classes)), target)


@pytest.mark.parametrize("metric", ["accuracy", "mean_per_class_accuracy", "roc_auc"])
def test_a_gain_is_the_difference_of_two_figures_with_a_paired_interval(metric):
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, 300)
    baseline = rng.normal(size=(300, 2)) + np.eye(2)[target]
    scores = baseline + 0.5 * np.eye(2)[target]
    gained = gain(metric, scores, baseline, target)
    assert gained.value == pytest.approx(value_of(metric, scores, target) - value_of(metric, baseline, target))
    assert gained.interval[0] < gained.value < gained.interval[1]
    drawn = (rng.integers(0, 300, 300) for _ in range(500))
    differences = [
        value_of(metric, scores[at], target[at]) - value_of(metric, baseline[at], target[at]) for at in drawn
    ]
    assert gained.interval == pytest.approx(np.quantile(differences, [0.025, 0.975]), abs=0.012)


def test_the_gain_of_several_labels_a_sample():
    rng = np.random.default_rng(0)
    target = (rng.random((80, 3)) < 0.4).astype(int)
    baseline = rng.normal(size=(80, 3)) + target
    gained = gain(MULTI_LABEL, baseline + target, baseline, target)
    after, before = (value_of(MULTI_LABEL, scores, target) for scores in (baseline + target, baseline))
    assert gained.value == pytest.approx(after - before)
    assert gained.interval[0] < gained.value < gained.interval[1]
