"""Which images a name means, and in which order."""

import io
import os
import re
import tarfile

import numpy as np
import pytest
from PIL import Image
from trained_model import draw, write_images

from clip_lightning.data import Damaged, decode
from clip_lightning.inference.images import find_images, printable
from clip_lightning.inference.thumbnails import open_image, thumbnail


def keys(source):
    return [source.key(index) for index in range(len(source))]


def write_shard(path, names, size=(8, 8)):
    with tarfile.open(path, "w") as tar:
        for number, name in enumerate(names):
            content = io.BytesIO()
            if name.endswith(".txt"):
                content.write(b"a caption")
            else:
                Image.new("RGB", size, (number, 0, 0)).save(content, "png")
            member = tarfile.TarInfo(name)
            member.size = len(content.getvalue())
            content.seek(0)
            tar.addfile(member, content)


def test_a_folder_gives_its_images_in_order_and_says_what_it_leaves_out(tmp_path):
    write_images(tmp_path, 4)
    draw(tmp_path / ".hidden.png", 0)
    source = find_images([str(tmp_path)])
    assert keys(source) == ["00.jpg", "01.png", "05-torn.jpg", "sub/02.jpg", "sub/03.png", "sub/empty.png"]
    assert source.left_out == "1 file that is no image by the extension (notes.txt)"
    assert source.place(3) == str(tmp_path / "sub/02.jpg")
    assert source.read(1).image == (tmp_path / "01.png").read_bytes()


def test_files_folders_and_patterns_are_taken_in_the_order_given(tmp_path):
    write_images(tmp_path, 4)
    named = [str(tmp_path / "notes.txt"), str(tmp_path / "sub"), str(tmp_path / "0{1,0}.*g")]
    source = find_images(named)
    assert keys(source) == ["notes.txt", "02.jpg", "03.png", "empty.png", "01.png", "00.jpg"]
    assert source.left_out == ""
    with pytest.raises(Damaged, match="not an image"):
        decode(source.read(0).image)


def test_the_fingerprint_is_that_of_the_names_and_sizes(tmp_path):
    write_images(tmp_path / "a", 4)
    write_images(tmp_path / "b", 4)
    first, second = (find_images([str(tmp_path / name)]).fingerprint for name in "ab")
    assert first == second
    (tmp_path / "b" / "sub" / "empty.png").write_bytes(b"x")
    assert find_images([str(tmp_path / "b")]).fingerprint != first
    (tmp_path / "a" / "00.jpg").rename(tmp_path / "a" / "000.jpg")
    assert find_images([str(tmp_path / "a")]).fingerprint != first


def test_shards_give_every_image_whatever_is_beside_it(tmp_path):
    write_shard(tmp_path / "0.tar", ["a.png", "a.txt", "b.png"])
    write_shard(tmp_path / "1.tar", ["c.png"])
    source = find_images([str(tmp_path / "{0..1}.tar")])
    assert keys(source) == ["a.png", "b.png", "c.png"]
    assert source.block_sizes == [2, 1]
    assert [int(decode(source.read(index).image)[0, 0, 0]) for index in range(3)] == [0, 2, 0]
    assert source.place(2) == f"{tmp_path}/1.tar:c.png"
    assert open_image(source.file(1), "b.png") == source.read(1).image
    with pytest.raises(Damaged, match="no longer"):
        open_image(source.file(1), "z.png")
    before = source.fingerprint
    write_shard(tmp_path / "1.tar", ["d.png"])
    assert find_images([str(tmp_path / "*.tar")]).fingerprint != before


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["nothing"], ["no file or folder 'nothing'"]),
        (["empty"], ["empty is empty"]),
        (["texts"], ["no image but a.txt", ".jpg"]),
        (["tars"], ["*.tar"]),
        (["tars/0.tar", "texts"], ["name shards alone"]),
        (["torn.tar"], ["cut off"]),
        (["bare.tar"], ["no image is in bare.tar"]),
    ],
)
def test_where_there_is_no_image_it_is_said_why(names, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "texts", "tars"):
        os.mkdir(folder)
    (tmp_path / "texts" / "a.txt").write_text("a")
    write_shard("tars/0.tar", ["a.png"])
    write_shard("bare.tar", ["a.txt"])
    (tmp_path / "torn.tar").write_bytes((tmp_path / "tars/0.tar").read_bytes()[:700])
    with pytest.raises(ValueError, match=re.escape(words[0])) as error:
        find_images(names)
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize(("size", "small"), [((400, 100), (256, 64)), ((100, 40), (100, 40)), ((2000, 1), (256, 1))])
def test_a_thumbnail_is_the_whole_image(size, small):
    pixels = np.full((*size, 3), 77, np.uint8)
    image = thumbnail(pixels)
    assert image.shape == (*small, 3)
    assert (image == 77).all()


def test_names_that_are_no_text_can_be_written():
    name = os.fsdecode(b"caf\xe9.jpg")
    assert printable(name) == "caf\\udce9.jpg"
    assert printable("café.jpg") == "café.jpg"
    assert printable("a b\nc\t\x1b.jpg") == "a b\\nc\\t\\x1b.jpg"
