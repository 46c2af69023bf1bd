"""Augmentations by configuration: recorded, the same on any number of workers, and when a killed run goes on."""

import yaml
from killing import differences, fit

# Among them one whose angle torchvision types as numbers.Number, and one of others.
AUGMENTATIONS = """[
  {class_path: RandomHorizontalFlip},
  {class_path: torchvision.transforms.v2.ColorJitter, init_args: {brightness: 0.4, contrast: [0.6, 1.4]}},
  {class_path: RandomAffine, init_args: {degrees: 15, translate: [0.1, 0.1], interpolation: bilinear, fill: 255}},
  {class_path: RandomApply, init_args: {transforms: [{class_path: torchvision.transforms.v2.RandomInvert}], p: 0.3}},
]"""
OPTIONS = ["--data.augmentations", AUGMENTATIONS, "--trainer.max_epochs", 2]


def test_a_killed_run_with_workers_ends_as_the_one_without(tmp_path):
    whole, killed, plain = tmp_path / "whole", tmp_path / "killed", tmp_path / "plain"
    assert fit(whole, *OPTIONS) == 0
    assert fit(killed, *OPTIONS, "--data.num_workers", 2, kill=("forward", 13)) == -9
    assert fit(killed, *OPTIONS, "--data.num_workers", 2) == 0
    assert differences(whole, killed) == []
    assert fit(plain, "--trainer.max_epochs", 2) == 0
    assert "last.ckpt: state_dict" in differences(whole, plain)


def test_the_resolved_configuration_records_them_and_runs_again(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    assert fit(one, *OPTIONS) == 0
    recorded = yaml.safe_load((one / "config.yaml").read_text())["data"]["augmentations"]
    assert [part["class_path"].rpartition(".")[2] for part in recorded] == [
        "RandomHorizontalFlip",
        "ColorJitter",
        "RandomAffine",
        "RandomApply",
    ]
    assert recorded[2]["init_args"]["degrees"] == 15
    assert fit(two, "--config", one / "config.yaml") == 0
    assert (one / "config.yaml").read_text() == (two / "config.yaml").read_text()
    assert differences(one, two) == []
