import pytest

from clip_lightning.evaluation.few_shot_curve import Point, worth_in_shots


def curve(*means):
    return [Point(2.0**place, [mean]) for place, mean in enumerate(means)]


def test_a_value_between_two_points_is_on_the_line_over_the_logarithm():
    assert worth_in_shots(curve(0.2, 0.4, 0.6), 0.5) == {"shots": pytest.approx(2 * 2**0.5)}


@pytest.mark.parametrize(("value", "shots"), [(0.2, 1), (0.4, 2), (0.6, 4)])
def test_a_value_of_a_point_is_worth_its_shots(value, shots):
    assert worth_in_shots(curve(0.2, 0.4, 0.6), value) == {"shots": shots}


def test_beyond_the_curve_there_is_a_bound_and_no_number():
    assert worth_in_shots(curve(0.2, 0.4, 0.6), 0.1) == {"fewer_than": 1}
    assert worth_in_shots(curve(0.2, 0.4, 0.6), 0.7) == {"more_than": 4}


def test_the_first_rise_counts():
    assert worth_in_shots(curve(0.2, 0.5, 0.3, 0.6), 0.5) == {"shots": 2}
    assert worth_in_shots(curve(0.2, 0.5, 0.3, 0.6), 0.45)["shots"] < 2
