import numpy as np
import pytest

from clip_lightning.data import Order
from clip_lightning.data.order import replacement


def whole(order, epoch):
    return order.slice(epoch, 0, order.samples_per_epoch)


def test_any_slice_is_part_of_the_whole_in_any_order_of_asking():
    def new():
        return Order([[7, 3, 5], [4, 4]], weights=[2, 1], samples_per_epoch=30, seed=3, window_blocks=2)

    expected = {epoch: whole(new(), epoch) for epoch in (0, 1, 5)}
    order = new()
    random = np.random.default_rng(0)
    for _ in range(200):
        epoch = int(random.choice([0, 1, 5]))
        start, stop = np.sort(random.integers(0, 31, 2)).tolist()
        np.testing.assert_array_equal(order.slice(epoch, start, stop), expected[epoch][start:stop])


def test_each_sample_once_an_epoch_in_a_new_order():
    order = Order([[6, 1, 9]], seed=1)
    first, second = whole(order, 0), whole(order, 1)
    assert sorted(first[:, 1]) == sorted(second[:, 1]) == list(range(16))
    assert first[:, 1].tolist() != second[:, 1].tolist()
    assert first[:, 1].tolist() != whole(Order([[6, 1, 9]], seed=2), 0)[:, 1].tolist()


@pytest.mark.parametrize("samples_per_epoch", [3, 10, 25])
def test_passes_go_on_over_epochs(samples_per_epoch):
    order = Order([[4, 6]], samples_per_epoch=samples_per_epoch, seed=1)
    seen = np.concatenate([whole(order, epoch)[:, 1] for epoch in range(7)])
    for stop in range(1, len(seen) + 1):
        counts = np.bincount(seen[:stop], minlength=10)
        assert counts.max() - counts.min() <= 1
    assert (np.bincount(seen) >= len(seen) // 10).all()


def test_sources_have_their_share_in_each_epoch():
    order = Order([[1000], [10], [300]], weights=[5, 0, 3], samples_per_epoch=80, seed=1)
    for epoch in range(3):
        assert np.bincount(whole(order, epoch)[:, 0], minlength=3).tolist() == [50, 0, 30]
    owners = np.concatenate([whole(order, epoch)[:40, 0] for epoch in range(40)])
    assert abs((owners == 0).mean() - 5 / 8) < 0.05  # early positions are no other than late ones
    by_size = whole(Order([[30], [10]], seed=0), 0)
    assert np.bincount(by_size[:, 0]).tolist() == [30, 10]


def test_a_window_of_blocks_is_finished_before_the_next():
    order = Order([[5] * 6], seed=4, window_blocks=2)
    blocks = whole(order, 0)[:, 1] // 5
    windows = [set(blocks[start : start + 10].tolist()) for start in (0, 10, 20)]
    assert [len(window) for window in windows] == [2, 2, 2]
    assert set.union(*windows) == set(range(6))
    assert blocks[:10].tolist() != sorted(blocks[:10].tolist())


def test_all_permutations_are_equally_likely():
    firsts = np.array([whole(Order([[4]], seed=seed), 0)[0, 1] for seed in range(800)])
    assert np.abs(np.bincount(firsts) - 200).max() < 50  # four standard deviations


def test_visit_seeds_are_distinct_and_not_negative():
    order = Order([[1000]], seed=0)
    seeds = np.concatenate([whole(order, epoch)[:, 2] for epoch in range(20)])
    assert len(set(seeds.tolist())) == 20_000
    assert seeds.min() >= 0
    other = whole(Order([[1000]], seed=1), 0)[:, 2]
    assert not set(other.tolist()) & set(seeds.tolist())


def test_replacement_is_another_visit_of_the_same_source():
    found = [replacement(12345, attempt, 50) for attempt in range(1, 30)]
    assert found == [replacement(12345, attempt, 50) for attempt in range(1, 30)]
    assert all(0 <= index < 50 and seed >= 0 for index, seed in found)
    assert len({index for index, _ in found}) > 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[0]],), r"\[0\] samples"),
        (([],), r"\[\] samples"),
        (([[5], [5]], [1.0]), "1 weights for 2 sources"),
        (([[5], [5]], [1.0, -1.0]), "none negative"),
        (([[5], [5]], [0.0, 0.0]), "one positive"),
        (([[5], [5]], [1.0, 0.001], 10), "leave a source none"),
        (([[5]], None, 0), "samples_per_epoch 0"),
        (([[5]], None, 5, 0, 0), "window_blocks 0"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Order(*arguments)
