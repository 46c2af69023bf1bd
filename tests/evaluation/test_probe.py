import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

from clip_lightning.evaluation import linear_probe
from clip_lightning.evaluation.regularisation import LAST, strength


def parts(features, labels):
    """Training, validation and test samples, as arguments."""
    return [part for cut in (slice(0, 300), slice(300, 450), slice(450, 900)) for part in (features[cut], labels[cut])]


@pytest.fixture(scope="module")
def digits():
    features, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    return parts(features[order].astype(np.float32) / 16, labels[order])


@pytest.fixture(scope="module")
def probed(digits):
    return linear_probe(*digits)


def reference(train, val, test, lam):
    """scikit-learn, cold: accuracy in validation, and on the test samples after a fit to both."""
    model = LogisticRegression(C=1 / lam, max_iter=1000, tol=1e-6)
    value = model.fit(*train).score(*val)
    both = [np.concatenate(pair) for pair in zip(train, val, strict=True)]
    return value, model.fit(*both).score(*test)


def test_the_probe_is_that_of_scikit_learn_on_the_grid(digits, probed):
    train, val, test = (digits[place : place + 2] for place in (0, 2, 4))
    grid = {strength(place): reference(train, val, test, strength(place)) for place in range(0, LAST + 1, 8)}
    best = max(grid, key=lambda lam: (grid[lam][0], lam))
    assert max(fit.value for fit in probed.fits) >= grid[best][0] - 0.007  # One of 150 images.
    assert probed.value == pytest.approx(reference(train, val, test, 1 / probed.c)[1], abs=0.001)
    assert probed.value == pytest.approx(grid[best][1], abs=0.01)
    assert len(probed.fits) <= 15
    assert probed.items.mean() == pytest.approx(probed.value)
    assert probed.interval[0] < probed.value < probed.interval[1]
    assert all(fit.classifier.converged for fit in probed.fits)


def test_large_sets_give_the_same(digits, probed, monkeypatch):
    monkeypatch.setattr("clip_lightning.evaluation.logistic_regression.SMALL", 0)
    large = linear_probe(*digits)
    assert [fit.strength for fit in large.fits] == [fit.strength for fit in probed.fits]
    assert large.value == pytest.approx(probed.value, abs=0.001)


def test_without_validation_samples_a_fifth_of_training_chooses(digits):
    train, train_labels, _, _, test, test_labels = digits
    assert linear_probe(train, train_labels, None, None, test, test_labels).value > 0.85


def test_the_order_of_samples_and_classes_does_not_matter(digits, probed):
    order, classes = np.random.default_rng(1).permutation(300), np.random.default_rng(2).permutation(10)
    train, train_labels, val, val_labels, test, test_labels = digits
    permuted = linear_probe(
        train[order], classes[train_labels[order]], val, classes[val_labels], test, classes[test_labels]
    )
    assert permuted.value == pytest.approx(probed.value, abs=0.003)


def test_an_oracle_is_always_right_and_noise_at_chance():
    labels = np.arange(900) % 3
    assert linear_probe(*parts(np.eye(3)[labels], labels)).value == 1.0
    noise = linear_probe(*parts(np.random.default_rng(0).normal(size=(900, 4)), labels))
    assert noise.interval[0] < 1 / 3 < noise.interval[1]


def test_a_collapsed_encoder_is_at_chance():
    """The same features for all: the same class for all, or shares of it."""
    probed = linear_probe(*parts(np.ones((900, 4)), np.arange(900) % 3))
    assert probed.value == pytest.approx(1 / 3, abs=0.01)


def tagged():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(900, 6))
    return features, (features[:, :3] + rng.normal(size=(900, 3)) > 0.8).astype(int)


def test_several_labels_are_rated_by_average_precision():
    features, labels = tagged()
    data = parts(features, labels)
    probed = linear_probe(*data, metric="mean_average_precision_11_point")
    both = np.concatenate([data[0], data[2]]), np.concatenate([data[1], data[3]])
    scores = [
        LogisticRegression(C=probed.c, tol=1e-8).fit(both[0], both[1][:, k]).decision_function(data[4])
        for k in range(3)
    ]
    expected = np.mean([average_precision_score(data[5][:, k], scores[k]) for k in range(3)])
    assert probed.value == pytest.approx(expected, abs=0.03)  # Eleven points are a coarser area.
    assert probed.items is None


def test_two_classes_are_rated_by_the_area_under_the_roc():
    features, labels = tagged()
    data = parts(features, labels[:, 0])
    probed = linear_probe(*data, metric="roc_auc")
    both = np.concatenate([data[0], data[2]]), np.concatenate([data[1], data[3]])
    scores = LogisticRegression(C=probed.c, tol=1e-8).fit(*both).decision_function(data[4])
    assert probed.value == pytest.approx(roc_auc_score(data[5], scores), abs=1e-3)


def test_fits_that_end_early_are_known(digits, monkeypatch):
    monkeypatch.setattr("clip_lightning.evaluation.logistic_regression.ITERATIONS", 2)
    assert not all(fit.classifier.converged for fit in linear_probe(*digits).fits)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({1: np.arange(300) % 9 + (np.arange(300) % 9 > 3)}, r"classes \[4\] have no training sample"),
        ({1: np.arange(300) % 11 - 1}, r"training labels \[-1\] are none of training, which are 0 to 9"),
        ({5: np.full(450, 10)}, r"test labels \[10\] are none of training"),
        ({3: np.zeros(2, dtype=int)}, "150 validation features for 2 validation labels"),
        ({0: np.full((300, 64), np.nan)}, "training features have values that are not finite"),
        ({5: np.eye(10, dtype=int)[np.zeros(450, dtype=int)]}, "needs one label a sample"),
    ],
)
def test_what_cannot_be_fitted_is_refused(digits, change, message):
    arguments = [change.get(place, part) for place, part in enumerate(digits)]
    with pytest.raises(ValueError, match=message):
        linear_probe(*arguments)


def test_no_such_metric(digits):
    with pytest.raises(ValueError, match="no metric 'precision'"):
        linear_probe(*digits, metric="precision")
