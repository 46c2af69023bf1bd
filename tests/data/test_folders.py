import os
import pickle

import jsonargparse
import numpy as np
import pytest
from PIL import Image

from clip_lightning.data import (
    ClassFolders,
    Damaged,
    ImageTextFolder,
    LabelledDataset,
    LabelledFolders,
    Source,
    decode,
)
from clip_lightning.data.packed import PackedTexts


def picture(path, grey=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 5, 3), grey, np.uint8)).save(path, format="PNG")


def test_packed_texts_come_back():
    texts = [f"folder/{number}.png" for number in range(1000)] + ["", "číslo 数", os.fsdecode(b"\xff.png"), "a\nb"]
    packed = pickle.loads(pickle.dumps(PackedTexts(texts)))
    assert list(packed) == texts
    assert [packed[index] for index in (0, 255, 256, 1003, 999)] == [texts[index] for index in (0, 255, 256, 1003, 999)]
    for index in (-1, len(texts)):
        with pytest.raises(IndexError):
            packed[index]
    assert list(PackedTexts([])) == []


PAIRS = {
    "a.png": "one\n",
    "b.v2.PNG": "\ufefftwo\r\n\r\n  zwei \n",
    "sub/a.jpg": "číslo\u2028tři",
    "sub/deep/c.webp": "four",
}


@pytest.fixture
def pairs(tmp_path):
    for number, (name, text) in enumerate(PAIRS.items()):
        picture(tmp_path / "pairs" / name, number)
        (tmp_path / "pairs" / name).with_suffix(".txt").write_text(text, encoding="utf-8", newline="")
    (tmp_path / "pairs" / "notes.json").write_text("{}")
    for hidden in (".cache/x.png", "._a.png"):
        picture(tmp_path / "pairs" / hidden)
    return tmp_path / "pairs"


def test_images_with_texts_beside_them(pairs):
    source = ImageTextFolder(pairs)
    expected = [("one",), ("two", "zwei"), ("číslo\u2028tři",), ("four",)]
    for one in (source, pickle.loads(pickle.dumps(source))):
        assert (len(one), list(one.block_sizes), one.name) == (4, [4], "pairs")
        for index in (2, 0, 3, 1):
            sample = one.read(index)
            assert sample.captions == expected[index]
            assert (decode(sample.image) == index).all()
        assert list(one.captions()) == [caption for captions in expected for caption in captions]
        assert [one.place(index) for index in range(4)] == [str(pairs / name) for name in PAIRS]


def test_what_changes_the_fingerprint_of_a_folder(pairs):
    before = ImageTextFolder(pairs).fingerprint
    os.utime(pairs / "a.png", (0, 0))
    assert ImageTextFolder(pairs).fingerprint == before
    (pairs / "a.txt").write_text("two\n")
    with_text = ImageTextFolder(pairs).fingerprint
    (pairs / "a.png").write_bytes((pairs / "a.png").read_bytes() + b"0")
    with_image = ImageTextFolder(pairs).fingerprint
    (pairs / "a.png").rename(pairs / "aa.png")
    (pairs / "a.txt").rename(pairs / "aa.txt")
    assert len({before, with_text, with_image, ImageTextFolder(pairs).fingerprint}) == 4


def test_unpaired_files_are_named_or_left_out_with_a_warning(pairs):
    picture(pairs / "sub" / "alone.png")
    (pairs / "lost.txt").write_text("a")
    found = r"1 images without a text \(sub/alone.png\) and 1 texts without an image \(lost.txt\)"
    with pytest.raises(ValueError, match=rf"{found}; add what is missing, or leave them out with allow_unpaired"):
        ImageTextFolder(pairs)
    with pytest.warns(UserWarning, match=rf"{found} in .*pairs are left out"):
        assert len(ImageTextFolder(pairs, allow_unpaired=True)) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [(b" \n\n", r"a.txt is blank; write a caption"), (b"good\n\xff\n", r"a.txt:2 is not UTF-8 text")],
)
def test_a_text_that_is_no_caption_is_named(pairs, text, message):
    (pairs / "a.txt").write_bytes(text)
    with pytest.raises(ValueError, match=message):
        ImageTextFolder(pairs)


def test_a_pair_that_goes_is_damaged(pairs):
    source = ImageTextFolder(pairs)
    (pairs / "a.png").unlink()
    (pairs / "sub" / "a.txt").unlink()
    with pytest.raises(Damaged, match="image file is missing"):
        source.read(0)
    with pytest.raises(Damaged, match="text file has become unreadable"):
        source.read(2)


@pytest.mark.parametrize("build", [ImageTextFolder, lambda path: ClassFolders(path, ["{}"])])
def test_folders_without_anything_are_named(tmp_path, build):
    with pytest.raises(ValueError, match=r"cannot read the folder .*none: No such file"):
        build(tmp_path / "none")
    with pytest.raises(ValueError, match=r"has no image with a .txt|has no folders"):
        build(tmp_path)


CLASSES = {"big_cat/1.png": 0, "big_cat/more/2.png": 1, "cow/1.png": 2, "dog/1.png": 3}
TEMPLATES = ["a {}", "the {}."]


@pytest.fixture
def classes(tmp_path):
    for name, grey in CLASSES.items():
        picture(tmp_path / "classes" / name, grey)
    (tmp_path / "classes" / "README.md").write_text("not an image")
    return tmp_path / "classes"


def test_captions_from_class_names(classes):
    source = ClassFolders(classes, TEMPLATES, {"cow": "cow", "dog": ["dog", "hound"], "big_cat": "lion"})
    for one in (source, pickle.loads(pickle.dumps(source))):
        assert [one.read(index).captions for index in (0, 2)] == [("a cow", "the cow."), ("a lion", "the lion.")]
        assert one.read(1).captions == ("a dog", "a hound", "the dog.", "the hound.")
        assert [int(decode(one.read(index).image).max()) for index in range(4)] == [2, 3, 0, 1]
        assert list(one.captions()) == [caption for index in range(4) for caption in one.read(index).captions]
        assert one.place(3) == str(classes / "big_cat/more/2.png")


def test_labels_from_folders(classes, tmp_path):
    dataset = LabelledFolders(classes, TEMPLATES)
    assert dataset.class_names == [["big cat"], ["cow"], ["dog"]]
    assert [dataset.target(index) for index in range(len(dataset))] == [0, 0, 1, 2]
    assert [int(decode(dataset.source.read(index).image).max()) for index in range(4)] == [0, 1, 2, 3]
    assert (dataset.name, dataset.split, dataset.templates) == ("classes", "test", TEMPLATES)
    names = tmp_path / "names.txt"
    names.write_text("# pets first\ndog: hound | dog\nbig cat\ncow\n")
    dataset = LabelledFolders(classes, TEMPLATES, names)
    assert dataset.class_names == [["hound", "dog"], ["big cat"], ["cow"]]
    assert [dataset.target(index) for index in range(len(dataset))] == [0, 1, 1, 2]
    assert LabelledFolders(classes, TEMPLATES, ["cow", "dog", "big_cat"]).class_names == [["cow"], ["dog"], ["big cat"]]


def test_what_changes_the_fingerprint_of_class_folders(classes):
    prints = [
        ClassFolders(classes, TEMPLATES).fingerprint,
        ClassFolders(classes, ["a {}"]).fingerprint,
        ClassFolders(classes, TEMPLATES, {"cow": "bull", "dog": "dog", "big_cat": "big cat"}).fingerprint,
        LabelledFolders(classes, TEMPLATES).source.fingerprint,
    ]
    (classes / "cow/1.png").rename(classes / "cow/2.png")
    prints.append(ClassFolders(classes, TEMPLATES).fingerprint)
    assert len(set(prints)) == len(prints)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["cow", "dog"], r"classes has 1 folders without a class name \(big_cat\); name them too"),
        (
            ["cow", "dog", "big cat", "cat"],
            r"class_names\[3\]: .*classes has no folder 'cat' for the class; it has big_cat, cow, dog",
        ),
        ({"cow": "a", "dog": "b", "big_cat": "a"}, r"class_names\['big_cat'\]: class name 'a' occurs 2 times"),
        ({"cow": "a", "dog": "b", "big_cat": []}, r"class_names\['big_cat'\]: a class has no name"),
        (
            ["cow", "big cat", "big_cat", "dog"],
            r"class_names\[2\]: folder 'big_cat' is named before, at class_names\[1\]",
        ),
    ],
)
def test_names_that_do_not_fit_the_folders_are_named(classes, names, message):
    for build in (ClassFolders, LabelledFolders):
        with pytest.raises(ValueError, match=message):
            build(classes, TEMPLATES, names)


def test_a_wrong_line_of_a_file_of_names_is_named(classes, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("cow\n\nhorse: Pferd\n")
    with pytest.raises(ValueError, match=r"names.txt:3: .*classes has no folder 'horse'"):
        LabelledFolders(classes, TEMPLATES, names)


def test_folders_that_are_no_classes_are_named(classes):
    picture(classes / "stray.png")
    with pytest.raises(ValueError, match=r"classes has 1 images in no class's folder \(stray.png\)"):
        LabelledFolders(classes, TEMPLATES)
    (classes / "stray.png").unlink()
    (classes / "big cat").mkdir()
    with pytest.raises(ValueError, match=r"big_cat: class name 'big cat' occurs 2 times"):
        LabelledFolders(classes, TEMPLATES)
    (classes / "big cat").rename(classes / "horse")
    with pytest.raises(ValueError, match=r"classes has no images in the folders of the classes \['horse'\]"):
        LabelledFolders(classes, TEMPLATES)


def test_a_configuration_names_them_by_class(classes, pairs, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("cow\ndog\nbig cat\n")
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Source, "pairs")
    parser.add_subclass_arguments(Source, "train")
    parser.add_subclass_arguments(LabelledDataset, "test")
    said = {"path": str(classes), "templates": TEMPLATES}
    parsed = parser.parse_object(
        {
            "pairs": {"class_path": "ImageTextFolder", "init_args": {"path": str(pairs)}},
            "train": {
                "class_path": "ClassFolders",
                "init_args": {**said, "class_names": {"cow": "a", "dog": ["b", "c"], "big_cat": "d"}},
            },
            "test": {"class_path": "LabelledFolders", "init_args": {**said, "class_names": str(names)}},
        }
    )
    built = parser.instantiate(parsed)
    assert len(built.pairs) == 4
    assert built.train.read(1).captions == ("a b", "a c", "the b.", "the c.")
    assert built.test.class_names == [["cow"], ["dog"], ["big cat"]]


def test_a_link_to_a_folder_has_its_own_name(tmp_path):
    picture(tmp_path / "disk" / "cat" / "1.png")
    (tmp_path / "disk" / "cat" / "1.txt").write_text("a cat")
    (tmp_path / "photos").symlink_to(tmp_path / "disk")
    assert ClassFolders(tmp_path / "photos", ["a {}"]).name == "photos"
    assert LabelledFolders(tmp_path / "photos", ["a {}"]).name == "photos"
    assert ImageTextFolder(tmp_path / "photos").name == "photos"


def test_an_image_that_cannot_be_decoded_here_is_there_all_the_same(tmp_path):
    picture(tmp_path / "cat" / "1.png")
    (tmp_path / "cat" / "2.heic").write_bytes(b"ftypheic")
    picture(tmp_path / "cat" / "3.jfif")
    source = ClassFolders(tmp_path, ["a {}"])
    assert len(source) == 3
    with pytest.raises(Damaged):
        decode(source.read(1).image)
