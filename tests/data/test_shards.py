"""Shards as webdataset writes them: what is read, and what becomes of damage."""

import itertools
import json
import multiprocessing
import os
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import webdataset
from tars import change, keep_time, png, sample, samples, write_shards, write_tar

from clip_lightning.data import Damaged, Shards, decode
from clip_lightning.spec import build, spec_of

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    return write_shards(tmp_path, [7, 4, 8])


def test_samples_are_those_of_webdataset_and_tarfile(folder):
    source = Shards(folder / "train-{0000..0002}.tar")
    assert (len(source), list(source.block_sizes), source.name) == (19, [7, 4, 8], folder.name)
    urls = [str(folder / f"train-{shard:04d}.tar") for shard in range(3)]
    stream = list(webdataset.WebDataset(urls, shardshuffle=False))
    with_tarfile = {}
    for url in urls:
        with tarfile.open(url) as tar:
            with_tarfile.update({info.name: tar.extractfile(info).read() for info in tar})
    assert len(stream) == 19
    for index in np.random.default_rng(0).permutation(19).tolist():
        found = source.read(index)
        assert found.image == stream[index]["png"] == with_tarfile[f"{index:06d}.png"]
        assert found.captions == (stream[index]["txt"].decode(),)
        assert (decode(found.image) == index).all()
    assert list(source.captions()) == [one["txt"].decode() for one in stream]
    for index in (-1, 19):
        with pytest.raises(IndexError):
            source.read(index)


def test_captions_of_json_columns(folder):
    source = Shards(str(folder / "*.tar"), caption_extension=".JSON", caption_column=["title", "caption"])
    assert source.read(12).captions == ("title 12", "first 12", "second 12")
    assert list(itertools.islice(source.captions(), 4)) == ["title 0", "first 0", "second 0", "title 1"]
    one = Shards(str(folder / "*.tar"), caption_extension="json", caption_column="caption")
    assert one.read(18).captions == ("first 18", "second 18")


def test_a_text_is_one_caption_without_the_space_around_it(tmp_path):
    text = "\ufeff Zwei Bären,\nam Fluß. \r\n".encode()
    source = Shards(write_tar(tmp_path / "a.tar", [("a.JPG", b"image"), ("a.Txt", text)]))
    assert source.read(0).captions == ("Zwei Bären,\nam Fluß.",)
    assert source.read(0).image == b"image"


def test_each_line_is_a_caption_as_clip_benchmark_writes_sets_for_retrieval(tmp_path):
    texts = {"s0": "a dog\nthe hound\n", "s1": " a cat \n\n"}
    members = [(f"{key}.{end}", made) for key in texts for end, made in (("jpg", png(1)), ("txt", texts[key].encode()))]
    write_tar(tmp_path / "0.tar", members)
    source = Shards(tmp_path / "0.tar", caption_on_each_line=True)
    assert [source.read(index).captions for index in range(2)] == [("a dog", "the hound"), ("a cat",)]
    assert list(source.captions()) == ["a dog", "the hound", "a cat"]
    assert source.fingerprint != Shards(tmp_path / "0.tar").fingerprint


def test_shards_are_named_by_lists_patterns_and_braces(folder):
    names = [str(folder / f"train-{shard:04d}.tar") for shard in range(3)]
    prints = {
        Shards(path).fingerprint for path in (names, str(folder / "**" / "t*.tar"), folder / "train-{0000..0002}.tar")
    }
    assert len(prints) == 1
    assert list(Shards([names[2], str(folder / "train-000{1,0}.tar")]).block_sizes) == [8, 4, 7]
    literal = shutil.copy(names[1], folder / "a{0..1}[x].tar")
    assert list(Shards(literal).block_sizes) == [4]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("train-{0000..0003}.tar", r"there is no shard .*train-0003.tar \(from .*train-{0000..0003}.tar\)"),
        ("val-*.tar", r"there is no shard .*val-\*.tar$"),
        ("", r"is a folder; name its shards by a pattern such as .*/\*.tar"),
        ("train-{0000..0002.tar", "the braces in .* are wrong"),
        (["train-0000.tar", "train-000[0-1].tar"], "train-0000.tar is named twice"),
        ([], "path is an empty list"),
    ],
)
def test_paths_that_are_wrong_are_refused(folder, path, message):
    path = [str(folder / one) for one in path] if isinstance(path, list) else str(folder / path)
    with pytest.raises(ValueError, match=message):
        Shards(path)


@pytest.mark.parametrize("url", ["https://host/a-{0..9}.tar", "s3://a/b.tar", "pipe:touch ran", "file:///a.tar"])
def test_what_is_not_a_local_file_is_refused_and_no_shell_runs(tmp_path, monkeypatch, url):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"is not a local file; .* copy them first"):
        Shards([url])
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_extensions": []}, "must name one at least"),
        ({"image_extensions": ["txt"]}, "not that of the captions"),
        ({"caption_extension": "json"}, "captions in JSON need both"),
        ({"caption_column": "caption"}, "captions in JSON need both"),
        ({"caption_extension": "json", "caption_column": []}, "caption_column is an empty list"),
        (
            {"caption_extension": "json", "caption_column": "a", "caption_on_each_line": True},
            "caption_on_each_line is for texts",
        ),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(folder, arguments, message):
    with pytest.raises(ValueError, match=message):
        Shards(str(folder / "*.tar"), **arguments)


class Bomb:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def test_members_that_would_run_code_are_never_read(tmp_path):
    ran = tmp_path / "ran"
    pickle.loads(pickle.dumps(Bomb(ran)))
    assert ran.exists()
    ran.unlink()
    torch.save(Bomb(ran), tmp_path / "bomb.pth")
    bomb = pickle.dumps(Bomb(ran))
    members = [("a.pyd", bomb), ("a.pkl", bomb), ("a.pickle", bomb), ("a.pth", (tmp_path / "bomb.pth").read_bytes())]
    source = Shards(write_tar(tmp_path / "a.tar", [*members, *sample(1, "a")]))
    assert source.read(0).captions == ("caption 1",)
    # One that is called an image is bytes that are no image.
    source = Shards(write_tar(tmp_path / "b.tar", [("a.pkl", bomb), sample(1, "a")[1]]), image_extensions=["pkl"])
    with pytest.raises(Damaged):
        decode(source.read(0).image)
    assert not ran.exists()


def test_a_copy_in_another_process_reads_the_same_whether_files_are_open_or_not(folder):
    source = Shards(str(folder / "*.tar"))
    fresh = pickle.dumps(source)
    expected = [source.read(index) for index in range(19)]
    assert len(pickle.dumps(source)) == len(fresh)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(source.read, range(19)) == expected
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert pool.map(source.read, list(range(19)) * 20, chunksize=1) == expected * 20
    assert [source.read(index) for index in range(19)] == expected
    assert [pickle.loads(fresh).read(index) for index in range(19)] == expected
    again = build(spec_of(source))
    assert (again.fingerprint, again.read(3)) == (source.fingerprint, expected[3])


def test_many_shards_take_few_descriptors_and_give_them_back(tmp_path):
    for number in range(150):
        write_tar(tmp_path / f"{number:03d}.tar", samples(number))
    before = len(os.listdir("/proc/self/fd"))
    source = Shards(str(tmp_path / "*.tar"))
    assert [source.read(index).captions[0] for index in range(150)] == [f"caption {n}" for n in range(150)]
    assert len(os.listdir("/proc/self/fd")) <= before + 128
    del source
    assert len(os.listdir("/proc/self/fd")) == before


def test_fingerprint_follows_the_samples_their_order_and_how_they_are_read(folder, tmp_path_factory):
    path = str(folder / "*.tar")
    first = Shards(path)
    copies = shutil.copytree(
        folder, tmp_path_factory.mktemp("copies") / "copy", ignore=shutil.ignore_patterns("*.index")
    )
    assert Shards(str(copies / "*.tar")).fingerprint == first.fingerprint
    names = sorted(str(item) for item in copies.glob("*.tar"))
    image = first.read(5).image
    change(copies / "train-0000.tar", (copies / "train-0000.tar").read_bytes().index(image) + 50, b"\xaa")
    others = [
        Shards(names),
        Shards([*map(str, sorted(folder.glob("*.tar")))][::-1]),
        Shards(path, caption_extension="json", caption_column="title"),
        Shards(path, caption_extension="json", caption_column="caption"),
    ]
    assert len({source.fingerprint for source in (first, *others)}) == 5


def test_bits_that_rot_after_indexing_are_found(folder):
    path = folder / "train-0001.tar"
    source = Shards(str(folder / "*.tar"))
    expected = {index: source.read(index) for index in range(19)}
    keep_time(path, lambda path: change(path, path.read_bytes().index(expected[9].image) + 60, b"\xaa"))
    keep_time(path, lambda path: change(path, path.read_bytes().index(b"caption 7") + 8, b"8"))
    for one in (source, Shards(str(folder / "*.tar"))):
        for index in range(19):
            if index in (7, 9):
                with pytest.raises(Damaged, match="bytes in the shard differ from its index"):
                    one.read(index)
            else:
                assert one.read(index) == expected[index]


def test_a_shard_that_is_replaced_while_in_use_stops_the_reading(folder):
    source = Shards(str(folder / "*.tar"))
    write_tar(folder / "train-0001.tar", samples(1, 2, 3, 4))
    source.read(0)
    with pytest.raises(ValueError, match=r"train-0001.tar or its index .* was replaced while in use; start again"):
        source.read(8)
    assert Shards(str(folder / "*.tar")).read(8).captions == ("caption 2",)


def test_real_photographs_come_back_byte_for_byte(shared_data, tmp_path):
    with tarfile.open(shared_data / "coco-captions-mini.tar") as tar:
        tar.extractall(tmp_path, filter="data")
    folder = tmp_path / "coco-captions-mini"
    rows = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]
    with webdataset.ShardWriter(str(tmp_path / "coco-%03d.tar"), maxcount=20, verbose=0) as writer:
        for number, row in enumerate(rows):
            writer.write({"__key__": f"{number:04d}", "jpg": (folder / row["image"]).read_bytes(), "json": row})
    source = Shards(str(tmp_path / "coco-*.tar"), caption_extension="json", caption_column="captions")
    assert list(source.block_sizes) == [20, 20, 20, 16]
    for number, row in enumerate(rows):
        found = source.read(number)
        assert found.image == (folder / row["image"]).read_bytes()
        assert found.captions == tuple(caption.strip() for caption in row["captions"])
