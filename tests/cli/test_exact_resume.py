"""A run that is killed anywhere and started again ends as the run that was left alone: bit by bit."""

import pytest
from killing import curves, differences, fit

EARLY = [("forward", 9), ("writing", 3), ("saved", 2), ("evaluation", 2), ("after an epoch", 1)]
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
    *[("saved", number) for number in (1, 3, 6)],
]

STOPPER = "[{class_path: lightning.pytorch.callbacks.EarlyStopping, init_args: {monitor: val/loss, patience: 1}}]"
NO_STEPS = ["--checkpoints.every_n_steps", "null", "--checkpoints.keep_every", "null"]
VARIANTS = {
    "steps instead of epochs": (
        ["--trainer.max_epochs", "-1", "--trainer.max_steps", "16"],
        [("update", 7), ("update", 8), ("after an epoch", 1), ("forward", 24), ("saved", 4)],
    ),
    "validation between two accumulated batches": (
        [
            "--trainer.val_check_interval",
            "3",
            "--checkpoints.monitor",
            "val/loss",
            "--checkpoints.mode",
            "min",
            *NO_STEPS,
        ],
        [("update", 2), ("update", 3), ("update", 8), ("forward", 22)],
    ),
    "an evaluation before the training": (
        ["--trainer.val_check_interval", "0.3", "--evaluation.before_training", "true", *NO_STEPS],
        [("update", 2), ("update", 5), ("update", 8)],
    ),
    "a batch in parts": (["--model.micro_batch_size", "3"], [("forward", 8), ("update", 5)]),
    "another objective, with a parameter of its own": (
        ["--model.objective", "Sigmoid", *NO_STEPS],
        [("update", 3), ("validation", 1)],
    ),
    "early stopping": (
        ["--trainer.callbacks", STOPPER, "--trainer.max_epochs", "6"],
        [("update", 3), ("after an epoch", 1), ("update", 9)],
    ),
}


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


@pytest.fixture(scope="module")
def whole_variant(tmp_path_factory):
    """Runs that were left alone, by name of the variant."""
    runs = {}

    def get(name):
        if name not in runs:
            runs[name] = tmp_path_factory.mktemp("variant") / "run"
            assert fit(runs[name], *VARIANTS[name][0]) == 0
        return runs[name]

    return get


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kill"), [(name, kill) for name, (_, kills) in VARIANTS.items() for kill in kills])
def test_other_ways_to_train_go_on_exactly_too(whole_variant, tmp_path, name, kill):
    arguments = VARIANTS[name][0]
    whole = whole_variant(name)
    assert fit(tmp_path / "run", *arguments, kill=kill) == -9, "this place is not met so often"
    assert fit(tmp_path / "run", *arguments) == 0
    assert differences(whole, tmp_path / "run") == []


@pytest.mark.parametrize("name", VARIANTS)
def test_a_finished_run_is_not_trained_further(whole_variant, name):
    whole = whole_variant(name)
    files = {path.name: path.read_bytes() for path in (whole / "checkpoints").iterdir()}
    points = curves(whole)
    assert fit(whole, *VARIANTS[name][0]) == 0
    assert {path.name: path.read_bytes() for path in (whole / "checkpoints").iterdir()} == files
    assert curves(whole) == points
