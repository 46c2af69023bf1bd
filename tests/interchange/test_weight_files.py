"""Weights of transformers in several files with an index, as its own library writes them."""

import json
import re

import pytest
import torch
from released import edit_json
from safetensors.torch import load_file, save_file
from transformers import CLIPModel

import clip_lightning

INDEX = "model.safetensors.index.json"


@pytest.fixture
def sharded(transformers_folders, tmp_path):
    CLIPModel.from_pretrained(transformers_folders["gelu"]).save_pretrained(tmp_path, max_shard_size="5MB")
    assert not (tmp_path / "model.safetensors").exists()
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    return tmp_path


def test_all_tensors_are_read(sharded, transformers_folders):
    expected = clip_lightning.load(transformers_folders["gelu"]).model.state_dict()
    found = clip_lightning.load(sharded).model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())


def test_files_of_pickles(sharded, transformers_folders):
    """What earlier versions of the library wrote."""
    places = json.loads((sharded / INDEX).read_text())["weight_map"]
    for file in set(places.values()):
        torch.save(load_file(sharded / file), sharded / f"{file}.bin")
        (sharded / file).unlink()
    renamed = {name: f"{file}.bin" for name, file in places.items()}
    (sharded / INDEX).unlink()
    (sharded / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": renamed}))
    expected = clip_lightning.load(transformers_folders["gelu"]).model.state_dict()
    found = clip_lightning.load(sharded).model.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())


def test_a_file_that_is_missing_is_named(sharded):
    file = min(sharded.glob("model-*.safetensors"))
    file.unlink()
    with pytest.raises(ValueError, match=f"names '{file.name}', which is not beside it"):
        clip_lightning.load(sharded)


def test_a_file_that_holds_something_else(sharded):
    file = min(sharded.glob("model-*.safetensors"))
    save_file({**load_file(file), "more": torch.zeros(1)}, file)
    with pytest.raises(ValueError, match="differ in 1 tensors: more"):
        clip_lightning.load(sharded)


@pytest.mark.parametrize("place", ["../model.safetensors", "/etc/passwd", "", "..", 3, "a\\b"])
def test_an_index_that_leads_elsewhere(sharded, place):
    edit_json(sharded / INDEX, lambda index: index["weight_map"].update(logit_scale=place))
    with pytest.raises(ValueError, match=re.escape(f"names {place!r}, which is no file beside it")):
        clip_lightning.load(sharded)


def test_an_index_that_is_none(sharded):
    (sharded / INDEX).write_text("{}")
    with pytest.raises(ValueError, match=r"is no index of weights: it lacks weight_map"):
        clip_lightning.load(sharded)
