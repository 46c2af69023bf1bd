import json
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image

from clip_lightning.data import Damaged, JsonLines, decode


def written(folder, rows, name="pairs.jsonl"):
    path = folder / name
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path):
    for number in range(4):
        Image.fromarray(np.full((4, 5, 3), number, np.uint8)).save(tmp_path / f"{number}.png")
    return tmp_path


def test_rows_come_back_with_their_images(folder):
    rows = [{"image": f"{number}.png", "caption": f"número {number}"} for number in range(4)]
    source = JsonLines(written(folder, [rows[0], "\n", *rows[1:]]))
    for one in (source, pickle.loads(pickle.dumps(source))):
        assert len(one) == 4
        assert list(one.block_sizes) == [4]
        for index in (3, 0, 2, 1):
            sample = one.read(index)
            assert sample.captions == (f"número {index}",)
            assert (decode(sample.image) == index).all()
        assert list(one.captions()) == [f"número {index}" for index in range(4)]
    assert source.name == folder.name


def test_columns_rows_and_root_are_chosen(folder):
    rows = [
        {"file": f"{number}.png", "short": "a", "long": ["b", f"c {number}"], "split": ["train", "test"][number % 2]}
        for number in range(4)
    ]
    (folder / "lists").mkdir()
    path = written(folder / "lists", rows)
    source = JsonLines(path, "file", ["short", "long"], root=folder, where={"split": "test"}, name="tests")
    assert (len(source), source.name) == (2, "tests")
    assert source.read(1).captions == ("a", "b", "c 3")
    assert (decode(source.read(1).image) == 3).all()
    assert list(source.captions()) == ["a", "b", "c 1", "a", "b", "c 3"]


def test_fingerprint_changes_with_the_rows_and_how_they_are_read(folder):
    rows = [{"image": "0.png", "caption": "a", "other": "b"}, {"image": "1.png", "caption": "b", "other": "b"}]
    path = written(folder, rows)
    same = written(folder, rows, "same.jsonl")
    changed = written(folder, rows[:1], "changed.jsonl")
    sources = [
        JsonLines(path),
        JsonLines(same),
        JsonLines(changed),
        JsonLines(path, caption_column="other"),
        JsonLines(path, where={"caption": "a"}),
    ]
    prints = [source.fingerprint for source in sources]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 4


def test_a_missing_image_is_damage_at_reading(folder):
    source = JsonLines(written(folder, [{"image": "9.png", "caption": "a"}, {"image": ".", "caption": "a"}]))
    with pytest.raises(Damaged, match="image file is missing"):
        source.read(0)
    with pytest.raises(Damaged, match="image file cannot be read"):
        source.read(1)


GOOD = {"image": "0.png", "caption": "a", "split": "train"}


@pytest.mark.parametrize(
    ("row", "arguments", "message"),
    [
        ({"image": "0.png", "text": "a"}, {}, r"pairs.jsonl:2 has no column 'caption'; its columns are .*'text'"),
        ({"picture": "0.png", "caption": "a"}, {}, r"pairs.jsonl:2 has no column 'image'"),
        ("{oops\n", {}, r"pairs.jsonl:2 is not valid JSON"),
        ("[1]\n", {}, r"pairs.jsonl:2 is a list"),
        ({"image": "0.png", "caption": "  "}, {}, r"pairs.jsonl:2: caption holds '  '"),
        ({"image": "0.png", "caption": []}, {}, r"pairs.jsonl:2: caption is an empty list"),
        ({"image": "0.png", "caption": ["a", None]}, {}, r"pairs.jsonl:2: caption holds None"),
        ({"image": "", "caption": "a"}, {}, r"pairs.jsonl:2: image is ''"),
        (GOOD, {"where": {"split": "val"}}, r"no rows where .*'val'.*; there, split is one of \[\"'train'\"\]"),
        ({"image": "0.png", "caption": "a"}, {"where": {"split": "train"}}, r"pairs.jsonl:2 has no column 'split'"),
        (GOOD, {"caption_column": []}, r"caption_column is an empty list"),
    ],
)
def test_mistakes_name_the_line(tmp_path, row, arguments, message):
    with pytest.raises(ValueError, match=message):
        JsonLines(written(tmp_path, [GOOD, row]), **arguments)


def test_a_missing_or_empty_manifest_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"cannot read the manifest .*none.jsonl"):
        JsonLines(tmp_path / "none.jsonl")
    with pytest.raises(ValueError, match=r"pairs.jsonl has no rows$"):
        JsonLines(written(tmp_path, ["\n"]))


def test_real_photos_with_five_captions(shared_data, tmp_path):
    with tarfile.open(shared_data / "coco-captions-mini.tar") as tar:
        tar.extractall(tmp_path, filter="data")
    source = JsonLines(tmp_path / "coco-captions-mini" / "captions.jsonl", caption_column="captions")
    assert source.name == "coco-captions-mini"
    assert len(source) == 76
    assert len(list(source.captions())) >= 5 * 76
    image = decode(source.read(75).image)
    assert min(image.shape[1:]) >= 300
