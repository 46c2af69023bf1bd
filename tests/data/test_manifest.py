import csv
import json
import pickle
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from benchmarks import memory
from clip_lightning.data import Damaged, Manifest, decode


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
    source = Manifest(written(folder, [rows[0], "\n", *rows[1:]]))
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
    source = Manifest(path, "file", ["short", "long"], root=folder, where={"split": "test"}, name="tests")
    assert (len(source), source.name) == (2, "tests")
    assert source.read(1).captions == ("a", "b", "c 3")
    assert (decode(source.read(1).image) == 3).all()
    assert list(source.captions()) == ["a", "b", "c 1", "a", "b", "c 3"]


ROWS = [
    {"image": f"{number}.png", "caption": ["ä, \n b", ""][number % 2], "more": f"c {number}", "label": number // 2}
    for number in range(4)
]


def as_table(folder, suffix):
    path = folder / f"pairs.{suffix}"
    if suffix == "parquet":
        pa.parquet.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=3)
    elif suffix == "jsonl":
        return written(folder, ROWS)
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(ROWS[0]), delimiter="\t" if suffix == "tsv" else ",")
            writer.writeheader()
            writer.writerows(ROWS)
    return path


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv", "parquet"])
def test_every_kind_of_manifest_holds_the_same(folder, suffix):
    path = as_table(folder, suffix)
    source = Manifest(path, caption_column=["caption", "more"])
    for one in (source, pickle.loads(pickle.dumps(source))):
        assert [one.read(index).captions for index in (3, 0)] == [("c 3",), ("ä, \n b", "c 0")]
        assert [int(decode(one.read(index).image).max()) for index in (2, 1, 3, 0)] == [2, 1, 3, 0]
        assert list(one.captions()) == ["ä, \n b", "c 0", "c 1", "ä, \n b", "c 2", "c 3"]
    row_without = {"jsonl": "pairs.jsonl:2", "csv": "pairs.csv:4", "tsv": "pairs.tsv:4", "parquet": "parquet, row 2"}
    assert source.place(1).endswith(row_without[suffix])
    with pytest.raises(ValueError, match=rf"{row_without[suffix]} has no caption: caption is ''"):
        Manifest(path)
    with pytest.raises(ValueError, match=rf"pairs.{suffix}.* has no column 'text'; its columns are \['caption'"):
        Manifest(path, caption_column="text")


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize(
    ("where", "taken"),
    [
        ({"label": 1}, [2, 3]),
        ({"label": [0, 1]}, [0, 1, 2, 3]),
        ({"label": {"not": 1}}, [0, 1]),
        ({"label": 1, "more": {"not": ["c 2", "c 0"]}}, [3]),
        ({"caption": ""}, [1, 3]),
    ],
)
def test_rows_are_chosen_by_one_of_several_values_or_none(folder, suffix, where, taken):
    source = Manifest(as_table(folder, suffix), caption_column="more", where=where)
    assert list(source.captions()) == [f"c {number}" for number in taken]


def test_truth_and_nothing_as_text(folder):
    (folder / "a.csv").write_text("image,caption,tone\n0.png,a,False\n1.png,b,true\n2.png,c,\n")
    for value, found in ((False, "a"), (True, "b"), (None, "c"), ({"not": [True, None]}, "a")):
        assert list(Manifest(folder / "a.csv", where={"tone": value}).captions()) == [found]


def test_fingerprint_changes_with_the_rows_and_how_they_are_read(folder):
    rows = [{"image": "0.png", "caption": "a", "other": "b"}, {"image": "1.png", "caption": "b", "other": "b"}]
    path = written(folder, rows)
    same = written(folder, rows, "same.jsonl")
    changed = written(folder, rows[:1], "changed.jsonl")
    sources = [
        Manifest(path),
        Manifest(same),
        Manifest(changed),
        Manifest(path, caption_column="other"),
        Manifest(path, where={"caption": "a"}),
    ]
    prints = [source.fingerprint for source in sources]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 4


def test_a_missing_image_is_damage_at_reading(folder):
    source = Manifest(written(folder, [{"image": "9.png", "caption": "a"}, {"image": ".", "caption": "a"}]))
    with pytest.raises(Damaged, match="image file is missing"):
        source.read(0)
    with pytest.raises(Damaged, match="image file cannot be read"):
        source.read(1)


GOOD = {"image": "0.png", "caption": "a", "more": ["b"], "split": "train"}


@pytest.mark.parametrize(
    ("row", "arguments", "message"),
    [
        ({"image": "0.png", "text": "a"}, {}, r"pairs.jsonl:2 has no column 'caption'; its columns are .*'text'"),
        ({"picture": "0.png", "caption": "a"}, {}, r"pairs.jsonl:2 has no column 'image'"),
        ("{oops\n", {}, r"pairs.jsonl:2 is not valid JSON"),
        ("[1]\n", {}, r"pairs.jsonl:2 is a list"),
        ({"image": "0.png", "caption": "  "}, {}, r"pairs.jsonl:2 has no caption: caption is '  '"),
        ({"image": "0.png", "caption": []}, {}, r"pairs.jsonl:2 has no caption: caption is \[\]"),
        ({"image": "0.png", "caption": None}, {}, r"pairs.jsonl:2 has no caption: caption is None"),
        ({"image": "0.png", "caption": 3}, {}, r"pairs.jsonl:2: caption holds 3"),
        ({"image": "0.png", "caption": ["a", " "]}, {}, r"pairs.jsonl:2: caption holds ' '"),
        ({"image": "0.png", "caption": "\ud83d"}, {}, r"pairs.jsonl:2: caption holds half a surrogate pair"),
        (
            {"image": "0.png", "caption": "", "more": []},
            {"caption_column": ["caption", "more"]},
            r"pairs.jsonl:2 has no caption: caption is '', more is \[\]",
        ),
        ({"image": "0.png", "caption": ["a", None]}, {}, r"pairs.jsonl:2: caption holds None"),
        ({"image": "", "caption": "a"}, {}, r"pairs.jsonl:2: image is ''"),
        (GOOD, {"where": {"split": "val"}}, r"no rows where .*'val'.*; there, split is one of \[\"'train'\"\]"),
        ({"image": "0.png", "caption": "a"}, {"where": {"split": "train"}}, r"pairs.jsonl:2 has no column 'split'"),
        (GOOD, {"caption_column": []}, r"caption_column is an empty list"),
        (GOOD, {"where": {"split": ["a", "b"]}}, r"no rows where .*; there, split is one of \[\"'train'\"\]"),
        (GOOD, {"where": {"split": {"in": "a"}}}, r"where split is {'in': 'a'}; give a value, a list .*{not: \.\.\.}"),
    ],
)
def test_mistakes_name_the_line(tmp_path, row, arguments, message):
    with pytest.raises(ValueError, match=message):
        Manifest(written(tmp_path, [GOOD, row]), **arguments)


def test_a_missing_or_empty_manifest_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"cannot read the manifest .*none.jsonl"):
        Manifest(tmp_path / "none.jsonl")
    with pytest.raises(ValueError, match=r"pairs.jsonl has no rows$"):
        Manifest(written(tmp_path, ["\n"]))


def test_real_captions_without_a_header_row(shared_data):
    source = Manifest(shared_data / "coco-val2017-captions.tsv", columns=["image", "caption"])
    lines = (shared_data / "coco-val2017-captions.tsv").read_text(encoding="utf-8").splitlines()
    assert list(source.captions()) == [line.split("\t")[1] for line in lines]
    assert source.place(20_000).endswith("captions.tsv:20001")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_memory_does_not_grow_with_the_entries(kind):
    (small, _), (large, _) = (memory.measure(kind, number) for number in (memory.SMALL, memory.LARGE))
    assert large / small <= 1.10


def test_real_photos_with_five_captions(shared_data, tmp_path):
    with tarfile.open(shared_data / "coco-captions-mini.tar") as tar:
        tar.extractall(tmp_path, filter="data")
    source = Manifest(tmp_path / "coco-captions-mini" / "captions.jsonl", caption_column="captions")
    assert source.name == "coco-captions-mini"
    assert len(source) == 76
    assert len(list(source.captions())) >= 5 * 76
    image = decode(source.read(75).image)
    assert min(image.shape[1:]) >= 300
