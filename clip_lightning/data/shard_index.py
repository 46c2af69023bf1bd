"""Where the samples of a shard are: 28 bytes a sample, built once and stored, which is also the shard's check."""

import hashlib
import itertools
import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from clip_lightning.data.shard_layout import Layout, split_name
from clip_lightning.data.tar import CHUNK, Member, members
from clip_lightning.files import write_atomically

FORMAT = 1
# Offset and size of the image, offset and size of the caption, CRC-32 of both contents one after the other.
RECORD = struct.Struct("<QIQII")
_MAX_SIZE = 2**31 - 2**13  # More than Linux reads at once.


class ShardIndex(NamedTuple):
    """A stored index.

    The file is one line of JSON, which says what it belongs to, and then the records. It is never a pickle.

    Args:
        path: The file.
        shard: The tar that it describes.
        head: The file's first line.
        samples: Number of records behind it.
    """

    path: Path
    shard: Path
    head: bytes
    samples: int

    @property
    def digest(self) -> str:
        """SHA-256 of the records: of all offsets, sizes and checksums, and so of the samples and their order."""
        return str(json.loads(self.head)["sha256"])


def index_shard(shard: Path, layout: Layout, cache_dir: Path | None = None) -> ShardIndex:
    """The index of a shard: the stored one if it fits the shard as it is now, otherwise one that is built and stored.

    Building reads the whole shard. Several processes may do so at once: each writes a file of its own, which then takes
    its place in one step.

    Args:
        shard: A tar.
        layout: Its samples. Each layout has an index file of its own, so that runs which differ in it do not meet.
        cache_dir: Folder for a new index; by default the shard's.

    Raises:
        ValueError: If the shard is not whole or not as the layout says, with the byte and the sample, or the index
            cannot be written.
    """
    state = _state(os.stat(shard))
    # As JSON gives it back, which makes lists of tuples, since it is compared with what was stored.
    expected = json.loads(json.dumps({"format": FORMAT, "layout": asdict(layout), **state}))
    paths = [shard.with_name(f"{shard.name}.{_id_of(asdict(layout))}.index")]
    if cache_dir is not None:
        paths.append(cache_dir / f"{shard.name}.{_id_of([str(shard.absolute()), asdict(layout)])}.index")
    for path in paths:
        if (found := _stored(path, shard, expected)) is not None:
            return found
    records = _build(shard, layout)
    if _state(os.stat(shard)) != state:
        raise ValueError(f"{shard} is being written; start again when it is complete")
    head = {**expected, "samples": len(records) // RECORD.size, "sha256": hashlib.sha256(records).hexdigest()}
    line = json.dumps(head).encode() + b"\n"
    _store(paths[-1], line + records)
    return ShardIndex(paths[-1], shard, line, head["samples"])


def _state(stat: os.stat_result) -> dict[str, int]:
    """By what a shard is known again."""
    return {"shard_bytes": stat.st_size, "shard_mtime_ns": stat.st_mtime_ns}


def is_unchanged(index: ShardIndex, stat: os.stat_result) -> bool:
    """Whether an index still fits its shard, from the shard's status."""
    head = json.loads(index.head)
    return all(head[key] == value for key, value in _state(stat).items())


def _id_of(settings: Any) -> str:
    return hashlib.sha256(json.dumps([FORMAT, settings]).encode()).hexdigest()[:12]


def _stored(path: Path, shard: Path, expected: dict[str, Any]) -> ShardIndex | None:
    """A stored index that is whole and fits, or None."""
    try:
        with path.open("rb") as file:
            line = file.readline(CHUNK)
            size = os.fstat(file.fileno()).st_size
        head = json.loads(line)
        samples = int(head["samples"])
        fits = {key: head[key] for key in expected} == expected and isinstance(head["sha256"], str)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return ShardIndex(path, shard, line, samples) if fits and size == len(line) + samples * RECORD.size else None


def _build(shard: Path, layout: Layout) -> bytes:
    """The records of a shard, which is read from beginning to end."""
    records = bytearray()
    with shard.open("rb") as opened:
        file = opened.fileno()
        for image, caption in _samples(file, shard, layout):
            content = os.pread(file, caption.size, caption.offset)
            layout.captions(content, f"{caption.place} ({caption.name})")
            crc = zlib.crc32(content, _crc_of(file, image))
            records += RECORD.pack(image.offset, image.size, caption.offset, caption.size, crc)
    if not records:
        raise ValueError(f"{shard} is a tar without samples; remove it from the shards")
    return bytes(records)


def _samples(file: int, shard: Path, layout: Layout) -> Iterator[tuple[Member, Member]]:
    """Image and caption of each sample, in the order of the tar."""
    named = ((*split_name(member), member) for member in members(file, shard))
    places: dict[str, str] = {}
    for key, group in itertools.groupby(named, lambda part: part[0]):
        sample: dict[str, Member] = {}
        for _, extension, member in group:
            if extension in sample:
                raise ValueError(f"{member.place}: sample {key!r} has a second member .{extension}; remove one")
            sample[extension] = member
        place = next(iter(sample.values())).place
        if key in places:
            raise ValueError(
                f"{place}: sample {key!r} was there before, at {places[key]}; give each sample a key of its own, and "
                "put its members in a row"
            )
        places[key] = place
        chosen = layout.choose(key, sample)
        for member in chosen:
            if member.size > _MAX_SIZE:
                raise ValueError(f"{member.place}: {member.name!r} has {member.size:,} bytes; the limit is 2 GiB")
        yield chosen


def _crc_of(file: int, member: Member) -> int:
    """CRC-32 of a member's content, which is read piece by piece."""
    crc = 0
    for done in range(0, member.size, CHUNK):
        crc = zlib.crc32(os.pread(file, min(CHUNK, member.size - done), member.offset + done), crc)
    return crc


def _store(path: Path, content: bytes) -> None:
    """Writes an index, complete or not at all, also where others write the same one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise ValueError(
            f"cannot write the index {path}: {error.strerror}; name a folder that can be written to by cache_dir"
        ) from None
