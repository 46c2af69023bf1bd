import csv
import json
import tarfile

import jsonargparse
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from clip_lightning.data import CenterCrop, LabelledDataset, LabelledManifest, decode, images_of


@pytest.fixture
def manifest(tmp_path):
    def write(rows):
        path = tmp_path / "labels.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


def rows_of(labels, **columns):
    return [
        {"image": f"{number}.png", "label": label, **{column: values[number] for column, values in columns.items()}}
        for number, label in enumerate(labels)
    ]


TEMPLATES = ["a photo of a {}."]


def targets(dataset):
    return [dataset.target(index) for index in range(len(dataset))]


def test_numbers_with_names_from_a_list_a_file_or_a_column(manifest, tmp_path):
    path = manifest(rows_of([1, 0, 1], name=["dog", "cat", "dog"]))
    names = tmp_path / "names.txt"
    names.write_text("# pets\ncat\ndog\n")
    given = LabelledManifest(path, "label", TEMPLATES, class_names=["cat", "dog"])
    for dataset in (
        given,
        LabelledManifest(path, "label", TEMPLATES, class_names=str(names)),
        LabelledManifest(path, "label", TEMPLATES, class_name_column="name"),
    ):
        assert dataset.class_names == [["cat"], ["dog"]]
        assert targets(dataset) == [1, 0, 1]
        assert dataset.templates == TEMPLATES
        assert (dataset.name, dataset.split) == (tmp_path.name, "test")
        assert dataset.source.fingerprint == given.source.fingerprint


def test_names_that_are_known_are_kept_for_evaluation(manifest):
    path = manifest(rows_of([1, 0]))
    dataset = LabelledManifest(path, "label", TEMPLATES, class_names=["cat", "dog"], known_names={1: "dog"})
    assert dataset.known_names == {1: "dog"}


def test_labels_that_are_names(manifest):
    path = manifest(rows_of(["dog", "cat", "dog"]))
    assert targets(LabelledManifest(path, "label", TEMPLATES)) == [1, 0, 1]
    assert targets(LabelledManifest(path, "label", TEMPLATES, class_names=["dog", "cat"])) == [0, 1, 0]


def test_a_part_of_the_manifest_keeps_all_classes(manifest):
    rows = rows_of([0, 1, 2, 1], name=["cat", "dog", "cow", "dog"], split=["a", "b", "a", "b"])
    part = LabelledManifest(manifest(rows), "label", TEMPLATES, class_name_column="name", where={"split": "b"})
    assert part.class_names == [["cat"], ["dog"], ["cow"]]
    assert targets(part) == [1, 1]


@pytest.mark.parametrize(
    ("labels", "arguments", "message"),
    [
        ([0, 2], {"class_names": ["cat", "dog"]}, r"labels.jsonl:2: label 2 is none of the 2 classes"),
        ([0, -1], {"class_names": ["cat", "dog"]}, r"labels.jsonl:2: label -1 is none"),
        (["cat", "cow"], {"class_names": ["cat", "dog"]}, r"labels.jsonl:2: label 'cow' is none of the 2 classes"),
        ([0, 1], {"class_names": ["cat", "dog", "cow"]}, r"no image of the classes \['cow'\]"),
        ([0, 1], {"class_names": ["cat", "cat"]}, r"class_names\[1\]: class name 'cat' occurs 2 times"),
        ([0, 1], {"class_names": ["cat", " "]}, r"class_names\[1\]: class name ' ' must be"),
        ([0, 1.5], {"class_names": ["cat"]}, r"labels.jsonl:2: label is 1.5"),
        ([0, True], {"class_names": ["cat"]}, r"labels.jsonl:2: label is True"),
        ([0, "cat"], {"class_names": ["cat"]}, r"labels.jsonl:2: label 'cat' is a str, but 0"),
        ([0, 1], {}, r"are numbers; name the classes by class_names"),
        ([0, 2], {"class_name_column": "name"}, r"not the numbers from 0 to 1"),
        ([0, 0], {"class_name_column": "name"}, r"jsonl:2: label 0 is named \['dog'\], but \['cat'\] before"),
        ([0, 1], {"class_name_column": "title"}, r"labels.jsonl:1 has no column 'title'"),
        ([0, 1], {"class_name_column": "name", "class_names": ["a", "b"]}, r"not both"),
        ([0, 1], {"class_names": ["cat", "dog"], "templates": ["a photo"]}, r"template 'a photo'"),
    ],
)
def test_mistakes_are_named(manifest, labels, arguments, message):
    path = manifest(rows_of(labels, name=["cat", "dog"]))
    with pytest.raises(ValueError, match=message):
        LabelledManifest(path, "label", **{"templates": TEMPLATES, **arguments})


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "jsonl"])
def test_every_kind_of_manifest_holds_the_same(manifest, tmp_path, suffix):
    rows = rows_of([10, 2, 10, 0], name=["dog", "cow", "dog", "cat"])
    path = tmp_path / f"labels.{suffix}"
    if suffix == "parquet":
        pa.parquet.write_table(pa.Table.from_pylist(rows), path)
    elif suffix == "jsonl":
        manifest(rows)
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if suffix == "tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    # Numbers are ordered as numbers, though texts are not.
    chosen = {"label": [0, 2, 10]}
    dataset = LabelledManifest(path, "label", TEMPLATES, class_name_column="name", class_where=chosen)
    assert dataset.class_names == [["cat"], ["cow"], ["dog"]]
    assert targets(dataset) == [2, 1, 2, 0]
    assert targets(LabelledManifest(path, "name", TEMPLATES)) == [2, 1, 2, 0]
    numbered = LabelledManifest(
        path, "label", TEMPLATES, [str(one) for one in range(100, 111)], allow_empty_classes=True
    )
    assert targets(numbered) == [10, 2, 10, 0]


def test_several_names_a_class(manifest, tmp_path):
    path = manifest(rows_of([1, 0], name=[["hound", "dog"], "cat"]))
    names = tmp_path / "names.txt"
    names.write_text("cat\nhound | dog\n")
    for dataset in (
        LabelledManifest(path, "label", TEMPLATES, class_names=["cat", ["hound", "dog"]]),
        LabelledManifest(path, "label", TEMPLATES, class_names=names),
        LabelledManifest(path, "label", TEMPLATES, class_name_column="name"),
    ):
        assert dataset.class_names == [["cat"], ["hound", "dog"]]
        assert targets(dataset) == [1, 0]
    path = manifest(rows_of(["dog", "cat", "hound"]))
    assert targets(LabelledManifest(path, "label", TEMPLATES, class_names=names)) == [1, 0, 1]
    with pytest.raises(ValueError, match=r"class_names\[1\]: class name 'cat' occurs 2 times"):
        LabelledManifest(path, "label", TEMPLATES, class_names=["cat", ["dog", "cat"]])
    with pytest.raises(ValueError, match=r"class_names\[1\]: a class has no name"):
        LabelledManifest(path, "label", TEMPLATES, class_names=["cat", []])


def test_classes_of_other_rows_than_the_evaluated(manifest, tmp_path):
    path = manifest(rows_of(["a", "b", "c", "d"], split=["train", "val", "train", "odd"]))
    usual = {"split": {"not": "odd"}}
    dataset = LabelledManifest(path, "label", TEMPLATES, where={"split": "val"}, class_where=usual)
    assert dataset.class_names == [["a"], ["b"], ["c"]]
    assert targets(dataset) == [1]
    other = tmp_path / "other.csv"
    other.write_text("label,split\nc,val\nb,train\nx,odd\n")
    dataset = LabelledManifest(path, "label", TEMPLATES, other, class_where=usual, where={"split": "val"})
    assert dataset.class_names == [["b"], ["c"]]
    assert targets(dataset) == [0]
    with pytest.raises(ValueError, match=r"labels.jsonl:4: label 'd' is none of the 3 classes"):
        LabelledManifest(path, "label", TEMPLATES, class_where=usual)
    with pytest.raises(ValueError, match=r"class_names as a list or text file, or class_name_column and class_where"):
        LabelledManifest(path, "label", TEMPLATES, ["a"], class_where=usual)
    listed = ["a", "b", "c", "d", "e"]
    with pytest.raises(ValueError, match=r"no image of the classes \['e'\] \(class_names\[4\]\)"):
        LabelledManifest(path, "label", TEMPLATES, listed, where={"split": "val"})
    dataset = LabelledManifest(path, "label", TEMPLATES, listed, where={"split": "val"}, allow_empty_classes=True)
    assert dataset.class_names == [[name] for name in listed]


SAME = {"id": list("uvwxyz"), "same": [None, "u", "v", None, ["z"], None]}


def test_labels_of_the_same_pixels_are_accepted(manifest):
    path = manifest(rows_of(["a", "b", "c", "d", "e", "f"], **SAME))
    dataset = LabelledManifest(path, "label", TEMPLATES, same_as_column="same")
    assert [list(dataset.accepted(index)) for index in range(6)] == [[0, 1, 2]] * 3 + [[3], [4, 5], [4, 5]]
    chosen = {"label": {"not": ["a", "f"]}}
    dataset = LabelledManifest(path, "label", TEMPLATES, same_as_column="same", where=chosen, class_where=chosen)
    assert [list(dataset.accepted(index)) for index in range(4)] == [[0, 1], [0, 1], [2], [3]]
    assert [list(LabelledManifest(path, "label", TEMPLATES).accepted(index)) for index in (0, 1)] == [[0], [1]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"same": [None, "nobody"] + [None] * 4}, r"labels.jsonl:2: same is 'nobody', which is the id of no row"),
        ({"id": list("uuwxyz"), "same": ["w", *[None] * 5]}, r"labels.jsonl:2: id 'u' occurs twice"),
        ({"same": [1.5] * 6}, r"labels.jsonl:1: same holds 1.5; it must identify a row"),
        ({"id": [None] * 6}, r"labels.jsonl:2: id holds None; it must identify a row"),
    ],
)
def test_wrong_references_to_the_same_pixels_are_named(manifest, change, message):
    path = manifest(rows_of(["a", "b", "c", "d", "e", "f"], **{**SAME, **change}))
    with pytest.raises(ValueError, match=message):
        LabelledManifest(path, "label", TEMPLATES, same_as_column="same")


def test_a_configuration_can_say_all_this(manifest):
    path = manifest(rows_of(["a", "b", "c"], split=["x", "y", "z"], id=[1, 2, 3], same=[None, 1, None]))
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(LabelledDataset, "data")
    said = {
        "path": str(path),
        "label_column": "label",
        "templates": TEMPLATES,
        "class_names": str(path),
        "class_where": {"split": {"not": "z"}},
        "where": {"split": ["x", "y"]},
        "same_as_column": "same",
    }
    configuration = parser.parse_object({"data": {"class_path": "LabelledManifest", "init_args": said}})
    dataset = parser.instantiate(configuration).data
    assert dataset.class_names == [["a"], ["b"]]
    assert list(dataset.accepted(1)) == [0, 1]


def test_a_name_twice_in_a_file_is_named_with_its_line(manifest, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("cat\n# between\ndog\ncat\n")
    with pytest.raises(ValueError, match=r"names.txt:4: class name 'cat' occurs 2 times"):
        LabelledManifest(manifest(rows_of([0, 1])), "label", TEMPLATES, class_names=names)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_each_image_comes_once_or_is_missing(manifest, tmp_path, num_workers, batch_size):
    dataset = LabelledManifest(manifest(rows_of([0] * 9)), "label", TEMPLATES, class_names=["cat"])
    for number in set(range(9)) - {2, 5}:
        Image.fromarray(np.full((7, 9, 3), number, np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "5.png").write_bytes(b"torn")
    wanted = [8, 0, 5, 2, 3, 1]
    found, missing = [], {}
    for batch in images_of(dataset.source, wanted, CenterCrop(4), batch_size, num_workers):
        assert batch.image.shape == (len(batch.indices), 3, 4, 4)
        assert batch.image.dtype == torch.uint8
        assert batch.image.float().mean(dim=(1, 2, 3)).tolist() == batch.indices.tolist()
        assert len(batch.indices) + len(batch.missing) <= batch_size
        found += batch.indices.tolist()
        missing |= batch.missing
    assert found == [8, 0, 3, 1]
    assert missing == {5: "not an image", 2: "image file is missing"}


def test_real_groceries(shared_data, tmp_path):
    with tarfile.open(shared_data / "grocery-store.tar") as tar:
        tar.extract("grocery-store/captions.jsonl", tmp_path, filter="data")
        first = json.loads((tmp_path / "grocery-store/captions.jsonl").read_text().splitlines()[0])
        tar.extract("grocery-store/" + first["image"], tmp_path, filter="data")
    dataset = LabelledManifest(
        tmp_path / "grocery-store/captions.jsonl",
        "label",
        TEMPLATES,
        class_name_column="class_name",
        where={"split": "train"},
        split="train",
    )
    assert len(dataset.class_names) == 81
    assert dataset.class_names[dataset.target(0)] == ["Golden Delicious"]
    assert min(decode(dataset.source.read(0).image).shape[1:]) == 128


def test_real_emoji_of_two_vendors(shared_data, tmp_path):
    """Evaluated on a part of one vendor's names, among all names without skin tones and flags."""
    for vendor in ("noto", "twemoji"):
        with tarfile.open(shared_data / f"emoji-{vendor}.tar") as tar:
            tar.extract(f"emoji-{vendor}/captions.jsonl", tmp_path, filter="data")
    base = {"skin_tone": False, "group": {"not": "Flags"}}
    sizes = {}
    for vendor, split in (("noto", ["train", "val", "test"]), ("twemoji", "val"), ("twemoji", {"not": "val"})):
        dataset = LabelledManifest(
            tmp_path / f"emoji-{vendor}/captions.jsonl",
            "caption",
            TEMPLATES,
            class_names=tmp_path / "emoji-noto/captions.jsonl",
            class_where=base,
            where={**base, "split": split},
            same_as_column="same_pixels_as",
        )
        assert len(dataset.class_names) == 1582
        sizes[vendor, str(split)] = len(dataset)
        several = [index for index in range(len(dataset)) if len(dataset.accepted(index)) > 1]
        # The family of unspecified people is drawn as one of two men and a boy.
        assert len(several) == (2 if vendor == "noto" else 0)
    assert list(sizes.values()) == [1582, 171, 1582 - 171]
