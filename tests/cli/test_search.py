"""``search``: answers from features that were embedded."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image
from trained_model import write_images, write_model, write_weights_alone

from clip_lightning.__main__ import main
from clip_lightning.inference.images import find_images
from clip_lightning.interchange import load
from clip_lightning.reports import photos

pytest.importorskip("faiss")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint, images and their features."""
    made = tmp_path_factory.mktemp("made")
    write_model(made / "model.ckpt")
    write_images(made / "images")
    command = ["embed", "--checkpoint", str(made / "model.ckpt"), "--images", str(made / "images")]
    assert main([*command, "--output", str(made / "features"), "--num_workers", "0"]) == 0
    return made


def run(folder, query, *more):
    return main(["search", "--index", str(folder / "features"), "--query", query, *more])


def similarities(folder, features):
    """Of every readable image with the query, by path."""
    model, _, transform, *_ = load(folder / "model.ckpt")
    found = {}
    source = find_images([str(folder / "images")])
    with torch.no_grad():
        for index in range(len(source)):
            if "torn" not in source.key(index) and "empty" not in source.key(index):
                image = model.encode_image(model.normalize(transform(source.file(index))[None]))
                found[source.place(index)] = float(torch.cosine_similarity(image, features))
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def hits(printed):
    """Rank, similarity and path of each line."""
    lines = [line.split() for line in printed.splitlines()[1:]]
    return {path: float(similarity) for _, similarity, path in lines}


def test_a_text_finds_the_images_nearest_to_it(folder, capsys):
    assert run(folder, "a red circle", "--top", "5") == 0
    printed = capsys.readouterr()
    model, tokenizer, *_ = load(folder / "model.ckpt")
    with torch.no_grad():
        expected = similarities(folder, model.encode_text(tokenizer(["a red circle"])))
    found = hits(printed.out)
    assert len(found) == 5
    np.testing.assert_allclose(list(found.values()), list(expected.values())[:5], atol=1e-4)
    assert all(similarity == pytest.approx(expected[path], abs=1e-4) for path, similarity in found.items())


def test_an_image_finds_itself_first_and_the_sheet_shows_the_hits(folder, tmp_path, capsys, monkeypatch):
    drawn = []
    original = photos.photo_sheet
    monkeypatch.setattr(photos, "photo_sheet", lambda given, *rest: drawn.extend(given) or original(given, *rest))
    path = str(folder / "images" / "03.png")
    assert run(folder, path, "--top", "100", "--sheet", str(tmp_path / "hits.png")) == 0
    printed = capsys.readouterr().out
    found = hits(printed.rpartition(str(tmp_path))[0])
    assert len(found) == 11
    assert next(iter(found.items())) == (path, 1.0)
    assert [photo.is_marked for photo in drawn] == [True] + [False] * 11
    pixels = np.asarray(Image.open(path))
    np.testing.assert_array_equal(drawn[0].image, pixels)
    np.testing.assert_array_equal(drawn[1].image, pixels)
    assert Image.open(tmp_path / "hits.png").width == 1500


def test_a_missing_a_moved_and_a_changed_checkpoint(folder, capsys):
    model = folder / "model.ckpt"
    moved = model.rename(folder / "moved.ckpt")
    try:
        assert run(folder, "red") == 2
        assert f"made by {model}, which is no longer there; say where it is now by --checkpoint" in (
            capsys.readouterr().err
        )
        assert run(folder, "red", "--checkpoint", str(moved)) == 0
        write_model(model, seed=1)
        assert run(folder, "red") == 2
        assert "has other weights" in capsys.readouterr().err
    finally:
        moved.rename(model)


@pytest.mark.parametrize(
    ("query", "more", "words"),
    [
        (" ", [], ["is blank"]),
        ("nope.JPG", [], ["'nope.JPG'", "no such image"]),
        ("{folder}/images/05-torn.jpg", [], ["cannot be read: image data cannot be decoded"]),
        ("{folder}/images/notes.txt", [], ["not an image"]),
        ("red", ["--top", "0"], ["--top 0"]),
        ("red", ["--shet", "x.png"], ["did you mean --sheet?"]),
        ("red", ["--sheet", "x.jpg"], ["must end in .png"]),
        ("red", ["--index", "{folder}/images"], ["holds no features", "embed"]),
    ],
)
def test_a_mistake_gets_one_message(query, more, words, folder, capsys):
    assert run(folder, query.format(folder=folder), *(part.format(folder=folder) for part in more)) == 2
    message = capsys.readouterr().err.strip().splitlines()
    assert len(message) == 1
    assert all(word in message[0] for word in words), message


def test_a_text_that_is_longer_than_any_path_is_a_text(folder):
    assert run(folder, "red " * 5000) == 0


def test_a_query_that_is_cut_is_told_of(folder, capsys):
    for query, lines in (("red " * 50, 1), ("red", 0)):
        assert run(folder, query) == 0
        assert capsys.readouterr().err.count("too long: 1 query loses what is beyond 24 tokens") == lines


def test_the_activation_is_the_one_that_the_features_were_made_with(tmp_path, capsys):
    write_images(tmp_path / "images")
    write_weights_alone(tmp_path / "weights.pt")
    command = ["embed", "--checkpoint", str(tmp_path / "weights.pt"), "--images", str(tmp_path / "images")]
    command += ["--output", str(tmp_path / "features"), "--num_workers", "0"]
    assert main([*command, "--quick_gelu", "true"]) == 0
    assert main([*command, "--quick_gelu", "false"]) == 2
    assert "was begun with --quick_gelu true; give the same" in capsys.readouterr().err
    query = str(tmp_path / "images" / "03.png")
    for more in ([], ["--quick_gelu", "true"]):
        assert run(tmp_path, query, *more) == 0
        assert next(iter(hits(capsys.readouterr().out).items())) == (query, 1.0)
    assert run(tmp_path, query, "--quick_gelu", "false") == 2
    assert "was made with --quick_gelu true, and --quick_gelu false is given" in capsys.readouterr().err


def test_without_faiss_the_remedy_is_told(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert run(folder, "red") == 2
    assert "pip install 'clip-lightning[search]'" in capsys.readouterr().err
