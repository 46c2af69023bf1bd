import json
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from clip_lightning.data import CenterCrop, LabelledManifest, decode, labelled_images


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
        ([0, 0], {"class_name_column": "name"}, r"labels.jsonl:2: label 0 is named 'dog', but 'cat' before"),
        ([0, 1], {"class_name_column": "title"}, r"labels.jsonl:1 has no column 'title'"),
        ([0, 1], {"class_name_column": "name", "class_names": ["a", "b"]}, r"not both"),
        ([0, 1], {"class_names": ["cat", "dog"], "templates": ["a photo"]}, r"template 'a photo'"),
    ],
)
def test_mistakes_are_named(manifest, labels, arguments, message):
    path = manifest(rows_of(labels, name=["cat", "dog"]))
    with pytest.raises(ValueError, match=message):
        LabelledManifest(path, "label", **{"templates": TEMPLATES, **arguments})


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
    for batch in labelled_images(dataset, wanted, CenterCrop(4), batch_size, num_workers):
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
