"""Sets of torchvision, from its own classes and from a configuration."""

import hashlib
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets
from torchvision.transforms import v2

from clip_lightning.__main__ import main
from clip_lightning.data import CenterCrop, Damaged, TorchvisionLabels, decode, images_of
from clip_lightning.data.torchvision_labels import open_vision_dataset
from clip_lightning.results import read_results

CIFAR_NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """Twelve random images in the layout of CIFAR-10's release, and torchvision expecting just these."""
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (12, 3072), dtype=np.uint8)
    sums = {}
    for name, content in {
        "test_batch": {"data": pixels, "labels": [*range(10), 3, 4], "filenames": [], "batch_label": ""},
        "batches.meta": {"label_names": CIFAR_NAMES},
    }.items():
        (folder / name).write_bytes(pickle.dumps(content))
        sums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    meta = {**datasets.CIFAR10.meta, "md5": sums["batches.meta"]}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
    return folder.parent, pixels.reshape(12, 3, 32, 32)


@pytest.fixture
def folder(tmp_path):
    """Two classes of images, of which one is transparent and one no image."""
    for name, number in {"cat": 3, "dog": 2}.items():
        (tmp_path / name).mkdir()
        for index in range(number):
            Image.new("RGB", (9, 7), (40 * index, 0, 0)).save(tmp_path / name / f"{index}.png")
    (tmp_path / "dog" / "1.png").write_bytes(b"no image")
    return tmp_path


def test_images_and_labels_are_those_of_the_set(cifar):
    root, pixels = cifar
    found = TorchvisionLabels(datasets.CIFAR10(str(root), train=False), ["a {}"])
    assert (found.name, found.split, len(found)) == ("cifar10", "test", 12)
    assert found.class_names == [[name] for name in CIFAR_NAMES]
    assert [found.target(index) for index in range(12)] == [*range(10), 3, 4]
    for index in range(12):
        assert torch.equal(decode(found.source.read(index).image), torch.from_numpy(pixels[index]))


def test_a_set_that_keeps_no_labels_is_read_for_them():
    fake = datasets.FakeData(size=30, image_size=(3, 8, 10), num_classes=4)
    found = TorchvisionLabels(fake, ["a {}"], class_names=["cat", ["dog", "puppy"], "cow", "owl"], name="fake")
    assert [found.target(index) for index in range(30)] == [fake[index][1] for index in range(30)]
    np.testing.assert_array_equal(found.source.read(5).image, np.asarray(fake[5][0]))
    assert found.class_names[1] == ["dog", "puppy"]


def test_workers_read_the_same(cifar):
    found = TorchvisionLabels(datasets.CIFAR10(str(cifar[0]), train=False), ["a {}"])
    alone, shared = (
        torch.cat([batch.image for batch in images_of(found.source, range(12), CenterCrop(16), 5, num_workers)])
        for num_workers in (0, 2)
    )
    assert torch.equal(alone, shared)


def test_damaged_and_missing_files_have_a_reason(folder):
    found = TorchvisionLabels(datasets.ImageFolder(str(folder)), ["a {}"])
    assert found.class_names == [["cat"], ["dog"]]
    assert found.source.read(2).image[0, 0].tolist() == [80, 0, 0]
    with pytest.raises(Damaged, match="image cannot be read"):
        found.source.read(4)
    (folder / "cat" / "1.png").unlink()
    with pytest.raises(Damaged, match="image file is missing"):
        found.source.read(1)


def test_other_samples_have_another_fingerprint(folder):
    def fingerprint(**arguments):
        fake = datasets.FakeData(**{"size": 20, "image_size": (3, 8, 8), "num_classes": 2, **arguments})
        return TorchvisionLabels(fake, ["{}"], class_names=["a", "b"]).source.fingerprint

    assert fingerprint() == fingerprint()
    assert len({fingerprint(), fingerprint(image_size=(3, 8, 9)), fingerprint(random_offset=1)}) == 3
    one = TorchvisionLabels(datasets.ImageFolder(str(folder)), ["{}"]).source.fingerprint
    Image.new("RGB", (9, 7), "white").save(folder / "cat" / "0.png")
    assert TorchvisionLabels(datasets.ImageFolder(str(folder)), ["{}"]).source.fingerprint != one


def fake(**arguments):
    return datasets.FakeData(**{"size": 12, "image_size": (3, 4, 4), "num_classes": 3, **arguments})


class Regression(datasets.FakeData):
    def __getitem__(self, index):
        return super().__getitem__(index)[0], index / 2


@pytest.mark.parametrize(
    ("dataset", "names", "message"),
    [
        (fake(transform=v2.ToImage()), ["a", "b", "c"], "FakeData has a transform of its own"),
        (fake(), None, "does not name its classes; give class_names"),
        (fake(), ["a", "b"], "labels from 0 to 2, but there are 2 class names"),
        (fake(), ["a", "b", "c", "d"], r"no image of the classes \['d'\]"),
        (fake(), ["a", "b", "a"], "'a' occurs 2 times"),
        (fake(), ["a", [], "c"], "has no name"),
        (fake(size=0), ["a"], "no samples"),
        (Regression(3), ["a"], "not one number a sample, but such as 0.0"),
    ],
)
def test_mistakes_are_named(dataset, names, message):
    with pytest.raises(ValueError, match=message):
        TorchvisionLabels(dataset, ["a {}"], class_names=names)


def test_given_names_are_as_many_as_the_set_has(folder):
    (folder / "dog" / "1.png").unlink()
    with pytest.raises(ValueError, match="class_names has 3 classes, but ImageFolder has 2"):
        TorchvisionLabels(datasets.ImageFolder(str(folder)), ["a {}"], class_names=["cat", "dog", "cow"])


def test_a_set_that_is_not_there_says_where_it_belongs(tmp_path):
    root = str(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=rf"CIFAR10 cannot be read.*download: true.*{root}"):
        open_vision_dataset(datasets.CIFAR10, root, train=False)
    with pytest.raises(ValueError, match=rf"ImageFolder cannot be read.*put its files into '{root}'"):
        open_vision_dataset(datasets.ImageFolder, root=root)


def fit(dataset, run_dir):
    evaluator = "[{class_path: ZeroShot, init_args: {dataset: {class_path: TorchvisionLabels, init_args: %s}}}]"
    arguments = ["fit", "--config", "tests/conf/tiny.yaml", "--trainer.max_epochs", "1", "--run_dir", str(run_dir)]
    return main([*arguments, "--evaluation.test", evaluator % dataset])


def test_a_configuration_names_it_by_its_class(cifar, tmp_path, capsys):
    dataset = f"{{class_path: torchvision.datasets.CIFAR10, init_args: {{root: {cifar[0]}, train: false}}}}"
    assert fit(f"{{dataset: {dataset}, templates: ['a {{}}']}}", tmp_path / "run") == 0
    rows = {row.name: row for row in read_results(tmp_path / "run" / "results.json")}
    assert rows["test/zero_shot/cifar10/accuracy"].n == 12
    assert rows["test/zero_shot/cifar10/accuracy"].protocol["class_names"][6] == ["frog"]
    assert main(["test", "--run_dir", str(tmp_path / "run")]) == 0
    assert "cifar10" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        ("{class_path: CIFAR10, init_args: {root: nowhere}}", ["CIFAR10", "download: true", "'nowhere'"]),
        ("{class_path: CIFAR11, init_args: {root: nowhere}}", ["CIFAR11", "did you mean 'CIFAR10'"]),
        ("{class_path: FakeData, init_args: {sise: 4}}", ["sise", "did you mean 'size'"]),
        ("{class_path: FakeData, init_args: {size: 4}}", ["FakeData", "class_names"]),
    ],
)
def test_a_mistake_in_a_configuration_gets_one_message(dataset, words, tmp_path, capsys):
    assert fit(f"{{dataset: {dataset}, templates: ['a {{}}']}}", tmp_path / "run") == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert all(word in message for word in words), message
