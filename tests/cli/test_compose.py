"""The one rule of composition, on files and arguments."""

import pytest

from clip_lightning.cli.compose import compose
from clip_lightning.config import differing_keys, merge, read_config, set_by_path, to_yaml

KEYS = ("config", "model", "trainer", "name")


def write(folder, name, text):
    path = folder / name
    path.write_text(text)
    return str(path)


def test_another_class_replaces_and_drops_arguments_of_the_same_name():
    base = {"model": {"encoder": {"class_path": "A", "init_args": {"width": 16}}, "embed_dim": 8}}
    over = {"model": {"encoder": {"class_path": "B"}}}
    assert merge(base, over) == {"model": {"encoder": {"class_path": "B"}, "embed_dim": 8}}
    assert base["model"]["encoder"]["class_path"] == "A"


def test_the_same_class_merges():
    base = {"encoder": {"class_path": "A", "init_args": {"width": 16, "depth": 2}}}
    over = {"encoder": {"class_path": "A", "init_args": {"width": 32}}}
    assert merge(base, over) == {"encoder": {"class_path": "A", "init_args": {"width": 32, "depth": 2}}}


def test_arguments_without_class_merge_into_the_given_class():
    base = {"encoder": {"class_path": "A", "init_args": {"width": 16}}}
    assert merge(base, {"encoder": {"init_args": {"depth": 2}}})["encoder"]["init_args"] == {"width": 16, "depth": 2}


def test_lists_replace():
    assert merge({"x": [1, 2]}, {"x": [3]}) == {"x": [3]}


def test_files_and_arguments_apply_in_order(tmp_path):
    one = write(tmp_path, "one.yaml", "model:\n  lr: 1e-3\n  encoder: {class_path: A, init_args: {width: 4}}\n")
    two = write(tmp_path, "two.yaml", "model:\n  encoder: {class_path: B}\n")
    config, rest = compose(
        ["--config", one, f"--config={two}", "--model.encoder.width", "7", "--trainer.fast=true", "--help"], KEYS
    )
    assert config == {
        "model": {"lr": 1e-3, "encoder": {"class_path": "B", "init_args": {"width": 7}}},
        "trainer": {"fast": True},
    }
    assert rest == ["--help"]


def test_a_part_given_by_its_class_alone_replaces():
    base = {"encoder": {"class_path": "A", "init_args": {"width": 4}}}
    assert set_by_path(base, "encoder.class_path", "B") == {"encoder": {"class_path": "B"}}
    assert set_by_path(base, "encoder.init_args.width", 5)["encoder"]["init_args"] == {"width": 5}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("5.0e-4", 5e-4),
        ("-2E+3", -2000.0),
        ("3", 3),
        ("1.5", 1.5),
        ("null", None),
        ("e3", "e3"),
        ("[1, 2]", [1, 2]),
        ("yes please", "yes please"),
    ],
)
def test_values_are_read_as_yaml_with_numbers_as_people_write_them(text, value):
    assert compose(["--name", text], KEYS)[0] == {"name": value}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--modle.lr", "1"], ["--modle", "--model"]),
        (["--zzz", "1"], ["--zzz", "--trainer"]),
        (["--name"], ["--name", "needs a value"]),
        (["--name", "--model.lr"], ["--name", "needs a value"]),
        (["--name", "[1,"], ["--name", "[1,"]),
    ],
)
def test_a_wrong_argument_is_named(arguments, words):
    with pytest.raises(ValueError, match="--") as caught:
        compose(arguments, KEYS)
    assert all(word in str(caught.value) for word in words)


def test_a_negative_number_is_a_value():
    assert compose(["--name", "-3"], KEYS)[0] == {"name": -3}


@pytest.mark.parametrize(
    ("text", "words"),
    [("a: [1,\nb: 2", ["bad.yaml", "line"]), ("a: 1\na: 2", ["'a' is given twice", "line 2"]), ("- 1", ["list"])],
)
def test_a_bad_file_is_named_with_its_line(tmp_path, text, words):
    with pytest.raises(ValueError, match="config file") as caught:
        read_config(write(tmp_path, "bad.yaml", text))
    assert all(word in str(caught.value) for word in words)


def test_a_missing_file_offers_the_nearest(tmp_path):
    write(tmp_path, "quickstart.yaml", "")
    with pytest.raises(ValueError, match=r"quikstart\.yaml.*does not exist.*quickstart\.yaml"):
        read_config(tmp_path / "quikstart.yaml")


def test_text_reads_back(tmp_path):
    config = {"a": {"b": [1, 2.5e-7, None, "é", True]}, "c": "1e-3"}
    assert read_config(write(tmp_path, "c.yaml", to_yaml(config))) == config


def test_differing_keys_are_dotted():
    assert differing_keys({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 0}) == ["a.c", "d"]
