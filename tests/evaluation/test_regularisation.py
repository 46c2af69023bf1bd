import numpy as np
import pytest

from clip_lightning.evaluation.regularisation import LAST, search, strength


def test_the_grid_is_eight_steps_a_decade():
    grid = [strength(place) for place in range(LAST + 1)]
    np.testing.assert_allclose(grid, np.logspace(-6, 6, 97))


@pytest.mark.parametrize("peak", range(0, LAST + 1, 5))
def test_one_peak_is_found_with_at_most_15_fits(peak):
    asked = []

    def value(place):
        asked.append(place)
        return -abs(place - peak)

    assert search(value) == peak
    assert len(asked) <= 15
    assert len(set(asked)) == len(asked)


def test_of_equal_ones_the_strongest_penalty_is_chosen():
    assert search(lambda place: 0.5) == LAST
    assert search(lambda place: min(place, 60)) == LAST
    assert search(lambda place: -abs(place - 20) // 8) == max(
        range(LAST + 1), key=lambda place: (-abs(place - 20) // 8, place)
    )


def test_the_weakest_comes_last_so_that_each_fit_can_begin_at_a_stronger_one():
    asked = []
    search(lambda place: asked.append(place) or 0.0)
    assert asked[:7] == [96, 80, 64, 48, 32, 16, 0]
