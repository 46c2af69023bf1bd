import itertools

import pytest
from mlflow.utils.validation import _validate_metric_name

from clip_lightning.tracking.mlflow_names import MAX_LENGTH, mlflow_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("val/zero_shot/emoji/recall_at_1", "val/zero_shot/emoji/recall_at_1"),
        ("train-loss", "train-loss"),
        ("model.init_args.width", "model.init_args.width"),
        ("R@1", "R--40-1"),
        ("a:b", "a--3a-b"),
        ("--a", "--2d--a"),
        ("../a", "--2e---2e-/a"),
        ("/a", "--0-/a"),
    ],
)
def test_names(name, expected):
    assert mlflow_name(name) == expected


def test_every_name_is_accepted_and_stays_different():
    names = ["".join(letters) for size in range(7) for letters in itertools.product("@-4/.", repeat=size)]
    accepted = [mlflow_name(name) for name in names]
    assert len(set(accepted)) == len(names)
    for name in accepted[::7]:
        _validate_metric_name(name)


def test_long_names_are_cut_but_stay_different():
    names = [mlflow_name("x" * 300 + end) for end in "ab"]
    assert names[0] != names[1]
    assert all(len(name) == MAX_LENGTH for name in names)
