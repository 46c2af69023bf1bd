"""Two sets of weights in one checkpoint."""

import pytest
import torch

from clip_lightning.averages import BESIDE, kind_of, kind_of_metric, with_averages, with_weights
from clip_lightning.checkpoint import KEY, read_checkpoint, write_checkpoint


def checkpoint():
    return {"state_dict": {"a": torch.zeros(100_000), "b": torch.ones(2)}, KEY: {"format": 2, "config": None}}


@pytest.mark.parametrize("kind", ["raw", "averaged"])
def test_either_set_is_had_whichever_was_chosen(kind, tmp_path):
    write_checkpoint(with_averages(checkpoint(), {"b": torch.full((2,), 0.5)}, kind), tmp_path / "x.ckpt")
    read = read_checkpoint(tmp_path / "x.ckpt")
    assert kind_of(read) == kind
    value = {"raw": 1.0, "averaged": 0.5}
    assert with_weights(read, None, "x")["state_dict"]["b"][0] == value[kind]
    for asked, expected in value.items():
        given = with_weights(read, asked, "x")
        assert kind_of(given) == asked
        assert given["state_dict"]["b"][0] == expected
        assert given[BESIDE]["b"][0] == 1.5 - expected
        assert kind_of(with_weights(given, kind, "x")) == kind


def test_weights_without_an_average_of_their_own_take_no_space_twice(tmp_path):
    write_checkpoint(checkpoint(), tmp_path / "one.ckpt")
    write_checkpoint(with_averages(checkpoint(), {"b": torch.zeros(2)}, "averaged"), tmp_path / "two.ckpt")
    one, two = ((tmp_path / name).stat().st_size for name in ("one.ckpt", "two.ckpt"))
    assert two - one < 4_000


def test_weights_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match="'x' has no averaged weights, but raw ones alone; leave weights out"):
        with_weights(checkpoint(), "averaged", "x")
    assert with_weights(checkpoint(), "raw", "x")["state_dict"]["b"][0] == 1
    with pytest.raises(ValueError, match="weights 'ema' is neither 'raw' nor 'averaged'"):
        with_weights(checkpoint(), "ema", "x")
    with pytest.raises(ValueError, match="damaged"):
        with_weights({**checkpoint(), BESIDE: {"b": "text"}}, "averaged", "x")


def test_a_metric_says_which_weights_it_is_of():
    kinds = {"val/loss": "raw", "val_ema/loss": "averaged", "test_ema/x/accuracy": "averaged", "val_emax/loss": "raw"}
    assert {name: kind_of_metric(name) for name in kinds} == kinds
