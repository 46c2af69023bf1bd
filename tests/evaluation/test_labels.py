import numpy as np
import pytest
from toy import Labels

from clip_lightning.evaluation import ZeroShot
from clip_lightning.evaluation.labels import label_names, pool

NUMBERS = [[str(number)] for number in range(3, 11)]


def test_names_in_the_order_of_the_labels_pass():
    ZeroShot(Labels(names=NUMBERS, known_names={0: "3", 7: "10"}))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (sorted(NUMBERS), r"label 0 of 'toy' is known to be '3', but .* \['10'\] there and '3' at 1; give them in the"),
        ([["background"], *NUMBERS], r"known to be '3', but .* \['background'\] there and '3' at 1"),
        (NUMBERS[:-1], r"label 7 of 'toy' is known to be '10', but .* nothing there and '10' nowhere"),
    ],
)
def test_names_in_another_order_are_refused(names, message):
    """Sorted as text, as one published list is; with a class more, or one less."""
    with pytest.raises(ValueError, match=message):
        ZeroShot(Labels(names=names, known_names={0: "3", 7: "10"}))


def test_a_class_needs_a_name():
    with pytest.raises(ValueError, match=r"\[1\] of 'toy' have no name"):
        ZeroShot(Labels(names=[["cat"], []]))


@pytest.mark.parametrize(
    ("pooled", "message"),
    [([0, 1], "has 3 classes, but pools 2"), ([0, 2, 0], r"stands for the labels \[1\]"), ([0, -1, 0], "begin at 0")],
)
def test_every_class_stands_for_a_label_and_every_label_has_one(pooled, message):
    with pytest.raises(ValueError, match=message):
        ZeroShot(Labels(3, pooled=pooled))


def test_pooling_is_the_maximum_over_the_classes_of_each_label():
    rng = np.random.default_rng(0)
    scores, pooled = rng.normal(size=(20, 9)), np.array([2, 0, 1, 1, 2, 0, 0, 2, 2])
    expected = np.stack([scores[:, pooled == label].max(axis=1) for label in range(3)], axis=1)
    np.testing.assert_array_equal(pool(scores, Labels(9, pooled=pooled)), expected)
    assert pool(scores, Labels(9)) is scores


def test_labels_are_named_by_what_stands_for_them():
    assert label_names(Labels(names=[["cat", "kitten"], ["dog"]])) == ["cat", "dog"]
    names = [["pug"], ["tabby"], ["boxer"], ["collie"], ["husky"]]
    assert label_names(Labels(names=names, pooled=[0, 1, 0, 0, 0])) == ["pug / boxer / collie / ...", "tabby"]
