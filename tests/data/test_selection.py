import numpy as np
import pytest
from PIL import Image

from clip_lightning.data import ImagesPerClass, LabelledFolders, ListedImages
from clip_lightning.spec import build, spec_of


@pytest.fixture
def folders(tmp_path):
    for name, number in {"cat": 7, "dog": 4}.items():
        (tmp_path / "pets" / name).mkdir(parents=True)
        for index in range(number):
            Image.new("RGB", (4, 4), (index, 0, 0)).save(tmp_path / "pets" / name / f"{index}.png")
    return LabelledFolders(tmp_path / "pets", ["a {}"])


def places(dataset):
    return [dataset.source.place(index) for index in range(len(dataset))]


def test_images_of_each_class_are_divided_without_a_rest(folders):
    train, test = ImagesPerClass(folders, take=3), ImagesPerClass(folders, skip=3)
    assert [np.bincount(one.targets(np.arange(len(one)))).tolist() for one in (train, test)] == [[3, 3], [4, 1]]
    assert sorted(places(train) + places(test)) == sorted(places(folders))
    assert train.split == "each class's images 1 to 3, in an order by hash"
    assert test.split == "each class's images 4 on, in an order by hash"
    again = build(spec_of(train))
    assert (places(again), again.source.fingerprint) == (places(train), train.source.fingerprint)
    assert len({one.source.fingerprint for one in (train, test, folders)}) == 3
    assert places(train) != sorted(places(folders))[:6], "not simply the first ones"


def test_a_sample_is_that_of_the_whole(folders):
    part = ImagesPerClass(folders, take=2)
    for index in range(len(part)):
        whole = places(folders).index(part.source.place(index))
        assert part.target(index) == folders.target(whole)
        assert part.accepted(index) == folders.accepted(whole)
        assert part.source.read(index).image == folders.source.read(whole).image
    assert part.prompts() == folders.prompts()
    assert (part.name, part.metric, list(part.source.captions())) == ("pets", "accuracy", [])


def test_a_list_says_which_images_and_their_order(folders, tmp_path):
    listed = tmp_path / "split.txt"
    listed.write_text("path\n/dog/1.png 2\ncat/5.png\nbird/0.png\n")
    with pytest.warns(UserWarning, match=r"1 of the 3 images that .*split.txt lists are not there \(bird/0.png\)"):
        part = ListedImages(folders, listed)
    assert [place.split("pets/")[1] for place in places(part)] == ["dog/1.png", "cat/5.png"]
    with pytest.warns(UserWarning, match="are not there"):
        rest = ListedImages(folders, listed, others=True)
    assert sorted(places(part) + places(rest)) == sorted(places(folders))


def test_another_size_than_the_published_is_told(folders):
    with pytest.warns(UserWarning, match="pets has 6 samples, but 3,060 are published"):
        assert ImagesPerClass(folders, take=3, published_size=3_060).published_size == 3_060


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folders, path: ImagesPerClass(folders, take=0), "take 0 must be at least 1"),
        (lambda folders, path: ImagesPerClass(folders, skip=9), "no class of 'pets' has more than 9 images; lower"),
        (lambda folders, path: ListedImages(folders, path / "none.txt"), "cannot read .*none.txt"),
        (lambda folders, path: ListedImages(folders, _other(path)), "lists no image of 'pets', whose first is"),
    ],
)
def test_mistakes_are_named(make, message, folders, tmp_path):
    with pytest.raises(ValueError, match=message):
        make(folders, tmp_path)


def _other(path):
    (path / "other.txt").write_text("cow/1.png\n")
    return path / "other.txt"
