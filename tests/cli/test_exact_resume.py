"""A run that is killed anywhere and started again ends as the run that was left alone: bit by bit."""

import pytest
from killing import differences, fit

EARLY = [("forward", 9), ("writing", 3), ("evaluation", 2), ("after an epoch", 1)]
ALL = [
    *[("forward", number) for number in (1, 2, 5, 8, 11, 12, 13, 20, 23, 33)],
    *[("update", number) for number in (1, 9, 17)],
    *[("after a step", number) for number in (4, 6, 8, 11, 12, 16, 22, 33)],
    *[("validation", number) for number in (1, 2, 4, 6)],
    *[("evaluation", number) for number in (1, 3, 4, 6)],
    *[("after an epoch", number) for number in (1, 2, 3)],
    *[("writing", number) for number in (1, 2, 5, 9)],
    *[("renaming", number) for number in (1, 4, 5, 6, 7, 12)],
    *[("linking", number) for number in (1, 2, 3)],
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was left alone."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert fit(run) == 0
    return run


@pytest.mark.parametrize("kill", EARLY, ids=str)
def test_a_killed_run_goes_on_exactly(whole, tmp_path, kill):
    assert fit(tmp_path / "run", kill=kill) == -9
    assert fit(tmp_path / "run") == 0
    assert differences(whole, tmp_path / "run") == []


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("kill", ALL, ids=str)
def test_wherever_it_is_killed_a_run_goes_on_exactly(whole, tmp_path, kill, num_workers):
    workers = ["--data.num_workers", num_workers]
    code = fit(tmp_path / "run", *workers, kill=kill)
    assert code == -9, "this place is not met so often"
    assert fit(tmp_path / "run", *workers) == 0
    assert differences(whole, tmp_path / "run") == []
