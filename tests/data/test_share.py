import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from clip_lightning.data import ClassFolders, ImageTextFolder, LabelledFolders, LabelledManifest, Manifest
from clip_lightning.data.share import Share

TRAIN, HELD_OUT = (0.0, 0.8), (0.8, 1.0)
TEMPLATES = ["a {}"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """60 images in two classes' folders, with texts beside them and a manifest of two rows an image."""
    root = tmp_path_factory.mktemp("share")
    rows = []
    for number in range(60):
        image = root / "images" / ("cat", "dog")[number % 2] / f"{number}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(image)
        image.with_suffix(".txt").write_text(f"number {number}")
        name = f"images/{image.parent.name}/{image.name}"
        rows += [{"image": name, "caption": f"{word} {number}", "label": image.parent.name} for word in ("one", "two")]
    (root / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def open_source(kind, folder, share):
    if kind is ImageTextFolder:
        return kind(folder / "images", share=share)
    if kind is ClassFolders:
        return kind(folder / "images", TEMPLATES, share=share)
    if kind is LabelledFolders:
        return kind(folder / "images", TEMPLATES, share=share).source
    if kind is Manifest:
        return kind(folder / "pairs.jsonl", share=share)
    return kind(folder / "pairs.jsonl", "label", TEMPLATES, share=share).source


def images(source):
    return [source.read(index).image for index in range(len(source))]


KINDS = [ImageTextFolder, ClassFolders, LabelledFolders, Manifest, LabelledManifest]


@pytest.mark.parametrize("kind", KINDS)
def test_shares_are_disjoint_and_together_everything(kind, folder):
    train, held_out, everything = (images(open_source(kind, folder, share)) for share in (TRAIN, HELD_OUT, (0.0, 1.0)))
    assert not set(train) & set(held_out)
    assert sorted(train + held_out) == sorted(everything)
    assert set(train) | set(held_out) == set(everything)
    assert len(set(everything)) == 60
    assert 0.6 < len(train) / len(everything) < 0.95


@pytest.mark.parametrize(("pairs", "labelled"), [(ClassFolders, LabelledFolders), (Manifest, LabelledManifest)])
def test_pairs_and_labelled_set_agree_on_what_is_held_out(pairs, labelled, folder):
    assert set(images(open_source(pairs, folder, HELD_OUT))) == set(images(open_source(labelled, folder, HELD_OUT)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_fingerprint_tells_shares_apart(kind, folder):
    one, same, other = (open_source(kind, folder, share).fingerprint for share in (TRAIN, TRAIN, (0.0, 0.5)))
    assert one == same != other


def test_labels_belong_to_their_images(folder):
    dataset = LabelledFolders(folder / "images", TEMPLATES, share=HELD_OUT)
    for index in range(len(dataset)):
        path = dataset.source.place(index)
        assert dataset.class_names[dataset.target(index)] == [os.path.basename(os.path.dirname(path))]


def test_what_is_held_out_stays_so_when_images_are_added(folder, tmp_path):
    before = set(images(ClassFolders(folder / "images", TEMPLATES, share=TRAIN)))
    more = shutil.copytree(folder / "images", tmp_path / "images")
    for number in range(60, 200):
        Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(more / "cat" / f"{number}.png")
    train = set(images(ClassFolders(more, TEMPLATES, share=TRAIN)))
    held_out = set(images(ClassFolders(more, TEMPLATES, share=HELD_OUT)))
    assert before <= train
    assert not train & held_out


def test_a_share_has_about_its_size():
    paths = [f"images/{number}.jpg" for number in range(10_000)]
    sizes = [sum(path in Share(bounds) for path in paths) for bounds in ((0, 0.1), (0.1, 0.5), (0.5, 1))]
    assert sum(sizes) == 10_000
    assert np.allclose(sizes, [1000, 4000, 5000], atol=5 * 50)  # five standard deviations of a half
    assert os.fsdecode(b"\xff.png") in Share((0, 1))
    assert sum(os.fsdecode(b"\xff.png") in Share(bounds) for bounds in ((0, 0.5), (0.5, 1))) == 1


@pytest.mark.parametrize("bounds", [(0.5, 0.5), (0.9, 0.1), (-0.1, 1), (0, 1.1), (0.5,), (0, float("nan"))])
def test_bounds_that_are_none_are_refused(bounds):
    with pytest.raises(ValueError, match=r"share is \[.*\]; give a lower and an upper bound"):
        Share(bounds)


@pytest.mark.parametrize("kind", KINDS)
def test_a_share_without_images_is_refused(kind, folder):
    with pytest.raises(ValueError, match=r"the share \[0.0, 1e-09\]"):
        open_source(kind, folder, (0.0, 1e-9))
