"""Features of a folder: part by part, the same whoever makes them."""

import functools

import numpy as np
import pytest
import torch
from trained_model import write_images, write_model

from clip_lightning.inference.embed import Setting, embed, embed_in_processes
from clip_lightning.inference.feature_folder import Description, FeatureFolder, weights_hash
from clip_lightning.inference.images import find_images
from clip_lightning.interchange import load

SETTING = Setting(batch_size=2)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A checkpoint, its model, and images."""
    folder = tmp_path_factory.mktemp("made")
    write_images(folder / "images")
    path = write_model(folder / "model.ckpt")
    return path, load(path), find_images([str(folder / "images")])


def new_folder(path, model, source, part_size=4, **changes):
    values = {
        "checkpoint": "c", "weights": weights_hash(model), "embed_dim": model.embed_dim, "images": ["i"],
        "fingerprint": source.fingerprint, "count": len(source), "part_size": part_size,
    }  # fmt: skip
    return FeatureFolder.create(path, Description(**{**values, **changes}))


def content(folder):
    """Bytes of the parts, by name."""
    return {path.name: path.read_bytes() for path in folder.path.iterdir() if path.name.startswith("part-")}


def test_rows_are_the_models_features_of_the_image_that_the_table_names(made, tmp_path):
    _, (model, _, transform, *_), source = made
    folder = new_folder(tmp_path, model, source)
    done = list(embed(model, source, folder, folder.unfinished(), SETTING))
    assert sum(one.images for one in done) == 11
    lines = [line | {"part": part} for part in folder.description.parts for line in folder.table(part).to_pylist()]
    assert [line["index"] for line in lines] == list(range(13))
    assert [line["key"] for line in lines] == [source.key(index) for index in range(13)]
    for line in lines:
        if line["missing"] is None:
            with torch.no_grad():
                expected = model.encode_image(model.normalize(transform(line["path"])[None]))[0]
            row = folder.features(line["part"])[line["row"]]
            assert row.dtype == np.float32
            np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-5)
    assert {line["key"]: line["missing"] for line in lines if line["missing"]} == {
        "05-torn.jpg": "image data cannot be decoded",
        "sub/empty.png": "empty file",
    }
    assert [line["row"] is None for line in lines] == [line["missing"] is not None for line in lines]
    assert folder.rows_of_parts() == [4, 3, 4, 0]


def test_what_is_stopped_goes_on_with_the_parts_that_lack_and_ends_the_same(made, tmp_path):
    _, (model, *_), source = made
    whole = new_folder(tmp_path / "whole", model, source)
    list(embed(model, source, whole, whole.unfinished(), SETTING))
    folder = new_folder(tmp_path / "stopped", model, source)
    making = embed(model, source, folder, folder.unfinished(), SETTING)
    for _ in range(3):  # one part of two batches is complete, another half made
        next(making)
    making.close()
    assert folder.unfinished() == [1, 2, 3]
    with pytest.raises(ValueError, match=r"3 of its 4 parts"):
        folder.complete()
    # A part without its table, as a kill between the two files leaves it.
    first = (folder.path / "part-00000.safetensors").stat().st_mtime_ns
    (folder.path / "part-00001.safetensors").write_bytes(b"half")
    again = new_folder(tmp_path / "stopped", model, source)
    list(embed(model, source, again, again.unfinished(), SETTING))
    assert content(again) == content(whole)
    assert (folder.path / "part-00000.safetensors").stat().st_mtime_ns == first
    assert again.unfinished() == []
    assert list(embed(model, source, again, [], SETTING)) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights": "0" * 64, "checkpoint": "other.ckpt"}, "another model: of c .* not of other.ckpt"),
        ({"fingerprint": "x", "count": 14}, "13 images of i, which have changed since: there are 14"),
        ({"fingerprint": "x", "images": ["j"]}, "13 images of i, not of j"),
        ({"part_size": 8}, "--part_size 4"),
    ],
)
def test_other_features_are_not_mixed_in(changes, words, made, tmp_path):
    _, (model, *_), source = made
    new_folder(tmp_path, model, source)
    with pytest.raises(ValueError, match=words):
        new_folder(tmp_path, model, source, **changes)


def test_a_model_that_was_moved_is_the_same(made, tmp_path):
    _, (model, *_), source = made
    new_folder(tmp_path, model, source)
    assert new_folder(tmp_path, model, source, checkpoint="moved").description.checkpoint == "c"


def test_other_files_and_other_writers_are_refused(made, tmp_path):
    _, (model, *_), source = made
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(ValueError, match="holds other files"):
        new_folder(tmp_path, model, source)
    folder = new_folder(tmp_path / "new", model, source)
    with folder.alone(), pytest.raises(ValueError, match="another process"), folder.alone():
        pass
    for content in (b"{", b"[]", b'{"format": 2}', b'{"format": 1, "x": 2}'):
        (folder.path / "features.json").write_bytes(content)
        with pytest.raises(ValueError, match=r"features.json is (damaged|not of format 1)"):
            FeatureFolder.open(folder.path)


def test_the_hash_is_of_the_weights_and_not_of_the_file(made, tmp_path):
    path, (model, *_), _ = made
    assert weights_hash(load(path).model) == weights_hash(model)
    assert weights_hash(load(write_model(tmp_path / "other.ckpt", seed=1)).model) != weights_hash(model)
    half = load(path).model.bfloat16()
    assert weights_hash(half) != weights_hash(model)


def test_batches_that_would_reach_into_another_part_are_refused(made, tmp_path):
    _, (model, *_), source = made
    folder = new_folder(tmp_path, model, source)
    with pytest.raises(ValueError, match="batch_size 3 must divide the 4 images"):
        next(embed(model, source, folder, [0], Setting(batch_size=3)))


@pytest.mark.slow
def test_processes_and_workers_make_the_same_files(made, tmp_path):
    path, (model, *_), source = made
    alone = new_folder(tmp_path / "alone", model, source)
    list(embed(model, source, alone, alone.unfinished(), SETTING))
    for name, number, workers in (("workers", 1, 1), ("processes", 2, 0)):
        folder = new_folder(tmp_path / name, model, source)
        setting = SETTING._replace(num_workers=workers, num_threads=1)
        parts = folder.unfinished()
        if number == 1:
            done = list(embed(model, source, folder, parts, setting))
        else:
            done = list(embed_in_processes(functools.partial(_model, path), source, folder, parts, setting, number))
        assert sum(one.images for one in done) == 11
        assert len({place for one in done for place in one.missing}) == 2
        assert content(folder) == content(alone)


def _model(path):
    return load(path).model


@pytest.mark.slow
def test_a_process_that_cannot_write_says_so(made, tmp_path):
    path, (model, *_), source = made
    folder = new_folder(tmp_path, model, source)
    (tmp_path / "part-00003.safetensors").mkdir()
    load_model = functools.partial(_model, path)
    with pytest.raises(IsADirectoryError):
        list(embed_in_processes(load_model, source, folder, [3], SETTING, 2))
