"""The index of a shard against Python's tarfile, and everything for which a shard is refused."""

import itertools
import multiprocessing
import os
import pickle
import shutil
import tarfile
import zlib

import pytest
from tars import BLOCK, change, entry, png, sample, samples, write_tar

from clip_lightning.data.shard_index import RECORD, index_shard
from clip_lightning.data.shard_layout import IMAGE_EXTENSIONS, Layout

PLAIN = Layout(IMAGE_EXTENSIONS, "txt", ())
JSON = Layout(("png",), "json", ("caption", "more"))
LONG = "folder/" * 30 + "x" * 120


def records(index):
    return list(RECORD.iter_unpack(index.path.read_bytes()[len(index.head) :]))


def contents(path):
    with tarfile.open(path) as tar:
        return {info.name: (info.offset_data, tar.extractfile(info).read()) for info in tar if info.isreg()}


def headers(path):
    with tarfile.open(path) as tar:
        return [info.offset for info in tar]


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_every_format_is_read_as_by_tarfile(tmp_path, tar_format):
    keys = ["plain", "v1.0/dots in the folder", "schräg/ключ", "folder/" * 13 + "x" * 90, "./UPPER"]
    keys += [] if tar_format == tarfile.USTAR_FORMAT else [LONG]
    members = [entry("folder", tarfile.DIRTYPE), entry(LONG[:140], tarfile.DIRTYPE)]
    members += [member for number, key in enumerate(keys) for member in sample(number, key)]
    path = write_tar(tmp_path / "a.tar", members, tar_format, pax_headers={"comment": "of all"})
    reference = contents(path)
    found = records(index_shard(path, PLAIN))
    assert len(found) == len(keys)
    for key, (image, image_size, caption, caption_size, crc) in zip(keys, found, strict=True):
        assert (image, image_size) == (reference[f"{key}.png"][0], len(reference[f"{key}.png"][1]))
        assert (caption, caption_size) == (reference[f"{key}.txt"][0], len(reference[f"{key}.txt"][1]))
        assert crc == zlib.crc32(reference[f"{key}.png"][1] + reference[f"{key}.txt"][1])


def test_an_extended_header_states_name_and_size(tmp_path):
    record = b"17 path=\xc3\xa4/a.txt\n" + b"10 size=7\n"
    caption = b"caption"
    parts = [(entry("x", tarfile.XHDTYPE, size=len(record)), record), (entry("b.png", tarfile.REGTYPE), caption)]
    path = tmp_path / "a.tar"
    write_tar(path, [("ä/a.png", png(1))])
    blocks = [info.tobuf(tarfile.USTAR_FORMAT) + content.ljust(BLOCK, b"\0") for info, content in parts]
    change(path, path.read_bytes().index(png(1)) + BLOCK, b"".join(blocks))
    assert contents(path)["ä/a.txt"][1] == caption
    ((_, _, offset, size, _),) = records(index_shard(path, PLAIN))
    assert (offset, size) == (contents(path)["ä/a.txt"][0], 7)


def test_the_index_is_small_and_plain(tmp_path):
    index = index_shard(write_tar(tmp_path / "a.tar", samples(*range(100))), PLAIN)
    assert index.samples == 100
    assert index.path.stat().st_size == len(index.head) + 28 * 100
    assert index.head.startswith(b'{"format": 1')
    assert sorted(os.listdir(tmp_path)) == sorted(["a.tar", index.path.name])


FAULTS = {
    "no samples": ([], "tar without samples; remove it"),
    "no caption": (
        [*samples(1), sample(2)[0]],
        r"byte 2048: sample '0002' has no caption .txt, only \['png'\]; add it",
    ),
    "no image": ([*samples(1), sample(2)[1]], r"byte 2048: sample '0002' has no image .*, only \['txt'\]; add it"),
    "not grouped": ([*[sample(n)[0] for n in (1, 2)], *[sample(n)[1] for n in (1, 2)]], "byte 0: .* in a row"),
    "second member": ([sample(1)[0], *sample(1)], r"byte 1024: sample '0001' has a second member \.png; remove"),
    "second member in capitals": ([*sample(1), ("0001.PNG", b"")], "has a second member .png"),
    "two images": ([("1.jpg", b""), *sample(1, "1")], r"images \['jpg', 'png'\]; name one of them in image_extensions"),
    "key again, apart": (samples(1, 2, 1), "byte 4096: sample '0001' was there before, at .* byte 0; give"),
    "absolute": (sample(1, "/abs/x"), "byte 0: the name '/abs/x.png' leads out"),
    "parent": (sample(1, "a/../../x"), r"the name 'a/\.\./\.\./x.png' leads out"),
    "dots in a name": (sample(1, "a.b"), r"sample 'a' has no image .*'b\.png'.*; a key ends at the first dot"),
    "a sample hidden by dots": ([*sample(1, "a"), *sample(2, "a.b")], "a.b looks like a sample of its own"),
    "no extension": ([("README", b""), *sample(1)], "'README' is not of the form KEY.EXTENSION"),
    "hidden file": ([("._1.png", b""), *sample(1)], r"'\._1\.png' is not of the form"),
    "hard link": ([*sample(1), entry("b.png", tarfile.LNKTYPE, linkname="1.png")], "hard link; .* --hard-dereference"),
    "symbolic link": ([entry("b.png", tarfile.SYMTYPE, linkname="/etc/passwd")], "byte 0: 'b.png' is a symbolic link"),
    "device": ([entry("b.png", tarfile.FIFOTYPE)], "'b.png' is of type b'6', no regular file"),
    "sparse": ([entry("b.png", tarfile.REGTYPE, pax_headers={"GNU.sparse.size": "9"})], "is a sparse file"),
    "not UTF-8": (
        [sample(1)[0], ("0001.txt", b"caf\xe9")],
        r"byte 1024 \(0001.txt\): the caption is not UTF-8 \(its b",
    ),
    "empty caption": ([sample(1)[0], ("0001.txt", b" \n")], r"byte 1024 \(0001.txt\): a caption is ' \\n'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_shard_is_refused_with_the_place_and_leaves_no_index(tmp_path, fault):
    members, message = FAULTS[fault]
    path = write_tar(tmp_path / "bad.tar", members)
    with pytest.raises(ValueError, match=f"bad.tar.*{message}"):
        index_shard(path, PLAIN)
    assert os.listdir(tmp_path) == ["bad.tar"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "byte 1024 .0001.json. is not valid JSON"),
        (b"[1]", "is a list; it must be a JSON object"),
        (b'{"text": "a", "more": "b"}', r"has no column 'caption'; its columns are \['more', 'text'\]"),
        (b'{"caption": "a", "more": []}', "more is an empty list"),
        (b'{"caption": ["a", ""], "more": "b"}', "a caption is ''"),
        (b'{"caption": null, "more": "b"}', "a caption is None"),
        (b'{"caption": "\xe9", "more": "b"}', "not UTF-8"),
    ],
)
def test_captions_in_json_are_checked(tmp_path, content, message):
    path = write_tar(tmp_path / "bad.tar", [sample(1)[0], ("0001.json", content)])
    with pytest.raises(ValueError, match=message):
        index_shard(path, JSON)


@pytest.mark.parametrize("length", [0, 1, *range(BLOCK, 6 * BLOCK + 1, BLOCK // 2), 7 * BLOCK - 1])
def test_a_shard_that_is_cut_off_is_refused_wherever_it_was_cut(tmp_path, length):
    path = write_tar(tmp_path / "cut.tar", samples(1, 2))
    os.truncate(path, length)
    with pytest.raises(ValueError, match=r"cut.tar.*(cut off|is empty \(0 bytes\))"):
        index_shard(path, PLAIN)


def test_a_header_is_refused_whichever_byte_is_damaged(tmp_path):
    good = write_tar(tmp_path / "good.tar", samples(1, 2, 3))
    whole, lost = good.read_bytes(), 0
    for header, at in itertools.product(headers(good), range(0, BLOCK, 5)):
        if at == 155:  # A filler that means nothing.
            continue
        path = shutil.copy(good, tmp_path / "bad.tar")
        change(path, header + at, bytes([whole[header + at] ^ 0x21]))
        with pytest.raises(
            ValueError, match=r"bad.tar, byte \d+: here should be a header of the tar, but it is damaged"
        ):
            index_shard(path, PLAIN)
        lost += header > 0 and len(headers(path)) < 6
    assert lost  # So tarfile alone would not do: it lists fewer members and says nothing.


def test_data_behind_the_end_and_blocks_lost_within_are_refused(tmp_path):
    path = write_tar(tmp_path / "a.tar", samples(1, 2))
    joined = tmp_path / "joined.tar"
    joined.write_bytes(path.read_bytes() * 2)
    with pytest.raises(
        ValueError, match=r"joined.tar, byte 10240: there are data behind the end of the tar at byte 4096"
    ):
        index_shard(joined, PLAIN)
    change(path, 2 * BLOCK, bytes(BLOCK))
    with pytest.raises(ValueError, match=r"a.tar, byte 1536: there are data behind the end of the tar at byte 1024"):
        index_shard(path, PLAIN)


def test_an_extended_header_that_is_damaged_or_alone_is_refused(tmp_path):
    path = write_tar(tmp_path / "a.tar", sample(1, "ключ"))
    record = path.read_bytes().index(b" path=")
    for content in (b"9 path=", b" pathx", b"x path="):
        change(path, record - len(content) + 6, content)
        with pytest.raises(ValueError, match="byte 0: an extended header is damaged"):
            index_shard(path, PLAIN)
    path = write_tar(tmp_path / "b.tar", samples(1))
    alone = entry("x", tarfile.XHDTYPE, size=0).tobuf(tarfile.USTAR_FORMAT)
    change(path, 4 * BLOCK, alone)
    with pytest.raises(ValueError, match="byte 2048: an extended header has no member behind it"):
        index_shard(path, PLAIN)


@pytest.mark.parametrize(("mode", "kind"), [("gz", "gzip"), ("bz2", "bzip2"), ("xz", "xz")])
def test_a_compressed_shard_is_refused_with_the_remedy(tmp_path, mode, kind):
    path = tmp_path / "a.tar"
    with tarfile.open(path, f"w:{mode}") as tar:
        tar.addfile(entry("a.png", tarfile.REGTYPE))
    with pytest.raises(ValueError, match=f"is compressed by {kind}; .* decompress it"):
        index_shard(path, PLAIN)


def test_half_a_sample_never_meets_the_other_half_of_another_shard(tmp_path):
    write_tar(tmp_path / "0.tar", samples(1))
    os.truncate(tmp_path / "0.tar", 3 * BLOCK + 3)  # Within the caption.
    write_tar(tmp_path / "1.tar", [sample(1)[1], *samples(2)])
    for number, message in ((0, "it is cut off"), (1, "sample '0001' has no image")):
        with pytest.raises(ValueError, match=message):
            index_shard(tmp_path / f"{number}.tar", PLAIN)


def test_a_stored_index_is_used_until_the_shard_changes(tmp_path):
    path = write_tar(tmp_path / "a.tar", samples(1, 2))
    first = index_shard(path, PLAIN)
    before = first.path.stat()
    assert index_shard(path, PLAIN) == first
    assert first.path.stat() == before
    write_tar(path, samples(1, 3))  # Of the same size.
    os.utime(path, ns=(0, before.st_mtime_ns + 1))
    second = index_shard(path, PLAIN)
    assert (second.path, second.samples) == (first.path, 2)
    assert second.digest != first.digest
    assert index_shard(path, PLAIN) == second


def test_each_layout_has_an_index_of_its_own(tmp_path):
    path = write_tar(tmp_path / "a.tar", [*sample(1), ("0001.json", b'{"caption": "a", "more": "b"}')])
    indexes = [index_shard(path, layout) for layout in (PLAIN, JSON)]
    assert indexes[0].path != indexes[1].path
    assert [index_shard(path, layout) for layout in (PLAIN, JSON)] == indexes


class Bomb:
    def __reduce__(self):
        return os._exit, (1,)


@pytest.mark.parametrize("spoil", [lambda whole: whole[:-1], lambda whole: whole + b"0", lambda _: pickle.dumps(Bomb()),
                                   lambda _: b"", lambda _: b"[]\n", lambda whole: b"{}\n" + whole,
                                   lambda whole: whole.replace(b'"format": 1', b'"format": 0')])  # fmt: skip
def test_an_index_that_is_not_whole_or_not_one_is_built_again(tmp_path, spoil):
    path = write_tar(tmp_path / "a.tar", samples(1, 2))
    index = index_shard(path, PLAIN)
    whole = index.path.read_bytes()
    index.path.write_bytes(spoil(whole))
    assert index_shard(path, PLAIN) == index
    assert index.path.read_bytes() == whole


def test_an_index_goes_to_the_cache_unless_one_is_beside_the_shard(tmp_path):
    cache = tmp_path / "new" / "cache"
    paths = []
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        paths.append(write_tar(tmp_path / folder / "a.tar", samples(*range(len(paths) + 1))))
    indexes = [index_shard(path, PLAIN, cache) for path in paths]
    assert [index.samples for index in indexes] == [1, 2]
    assert sorted(cache.iterdir()) == sorted(index.path for index in indexes)
    assert os.listdir(tmp_path / "x") == ["a.tar"]
    assert index_shard(paths[0], PLAIN, cache) == indexes[0]
    beside = index_shard(paths[0], PLAIN)
    assert index_shard(paths[0], PLAIN, cache) == beside


def test_an_index_that_cannot_be_written_is_refused_with_the_remedy(tmp_path):
    path = write_tar(tmp_path / "a.tar", samples(1))
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"cannot write the index .*/file/a.tar.*; name a folder .* cache_dir"):
        index_shard(path, PLAIN, tmp_path / "file")
    long = path.rename(tmp_path / ("x" * 245 + ".tar"))
    with pytest.raises(ValueError, match=r"cannot write the index .*File name too long"):
        index_shard(long, PLAIN)


def build_at_once(paths, barrier, results):
    barrier.wait()
    results.put([index_shard(path, PLAIN) for path in paths])


def test_processes_that_build_at_once_agree_and_leave_whole_files(tmp_path):
    paths = [write_tar(tmp_path / f"{number}.tar", samples(*range(20))) for number in range(8)]
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(4), context.Queue()
    builders = [context.Process(target=build_at_once, args=(paths, barrier, results)) for _ in range(4)]
    for builder in builders:
        builder.start()
    found = [results.get(timeout=60) for _ in builders]
    for builder in builders:
        builder.join()
    assert all(one == found[0] for one in found)
    assert len(list(tmp_path.iterdir())) == 16
    before = [index.path.read_bytes() for index in found[0]]
    for index in found[0]:
        index.path.unlink()
    assert [index_shard(path, PLAIN).path.read_bytes() for path in paths] == before
