import numpy as np

from clip_lightning.evaluation.draws import drawn_per_class, held_out


def labels():
    return np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [3, 10, 40]))


def test_each_class_gives_so_many():
    target = labels()
    drawn = drawn_per_class(target, 4, np.random.default_rng(1))
    assert np.bincount(target[drawn]).tolist() == [3, 4, 4]
    assert (np.diff(drawn) > 0).all()


def test_more_shots_are_the_fewer_ones_and_others():
    few, many = (set(drawn_per_class(labels(), number, np.random.default_rng(1))) for number in (2, 8))
    assert few < many


def test_every_sample_of_a_class_is_drawn_about_as_often():
    target = np.repeat([0, 1], [10, 30])
    counts = sum(
        np.bincount(drawn_per_class(target, 5, np.random.default_rng(seed)), minlength=40) for seed in range(600)
    )
    assert np.allclose(counts[:10] / 600, 1 / 2, atol=0.08)
    assert np.allclose(counts[10:] / 600, 1 / 6, atol=0.08)


def test_a_share_of_each_class_is_held_out():
    target = labels()
    marked = held_out(target, 0.2, np.random.default_rng(0))
    assert np.bincount(target[marked], minlength=3).tolist() == [0, 2, 8]


def test_of_several_labels_a_share_of_all_is_held_out():
    assert held_out(np.zeros((50, 4), dtype=int), 0.2, np.random.default_rng(0)).sum() == 10
