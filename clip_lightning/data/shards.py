"""Image-text pairs in tar files as webdataset writes them, by index."""

import bisect
import functools
import glob
import hashlib
import itertools
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from braceexpand import braceexpand

from clip_lightning.data.base import Damaged, RawSample, Source
from clip_lightning.data.folder_files import folder_name
from clip_lightning.data.shard_index import RECORD, ShardIndex, index_shard, is_unchanged
from clip_lightning.data.shard_layout import IMAGE_EXTENSIONS, Layout

# Two default windows of shards: a batch can reach from one into the next. Each takes two descriptors.
_MAX_OPEN = 64


class Shards(Source):
    """Image-text pairs of local tar files (shards), a block each.

    A sample is the members of one key, which is a member's name up to the first dot behind its folders, as webdataset
    has it; they stand in a row. Members with extensions that are not named here are never read, and nothing is ever
    unpickled. The first use reads each shard once to check it, and stores an index of 28 bytes a sample; after that a
    sample is read where it lies, in any order, and compared with its checksum.

    Args:
        path: One or several shards, or patterns such as ``data/*.tar`` or ``data/train-{0000..0099}.tar``. The order is
            that in which they are named; what matches ``*`` is sorted.
        image_extensions: Extensions that an image may have; by default those of the usual formats.
        caption_extension: Extension of the member with the captions. The whole text is one caption, without the white
            space around it, unless ``caption_column`` is given.
        caption_column: Column, or columns, with a caption or a list of captions, if that member is a JSON object.
        caption_on_each_line: Whether each line of a text is a caption of its own, as clip_benchmark writes its sets for
            retrieval.
        name: Short name for logs; by default the name of the first shard's folder.
        cache_dir: Folder for indexes that are not found beside their shard; by default they are stored beside it.

    Raises:
        ValueError: If there is no such shard, or one is not whole: cut off, damaged, a sample without image or caption,
            a key that occurs twice, with the shard, the byte, the key and the remedy.
    """

    def __init__(
        self,
        path: list[str] | str | Path,
        image_extensions: list[str] | None = None,
        caption_extension: str = "txt",
        caption_column: list[str] | str | None = None,
        caption_on_each_line: bool = False,
        name: str | None = None,
        cache_dir: str | Path | None = None,
    ) -> None:
        self._layout = _layout(image_extensions, caption_extension, caption_column)
        if caption_on_each_line and caption_column is not None:
            raise ValueError("caption_on_each_line is for texts, and caption_column for JSON; give one of them")
        self._is_caption_a_line = caption_on_each_line
        shards = _find(path)
        cache = None if cache_dir is None else Path(cache_dir)
        self._indexes = [index_shard(shard, self._layout, cache) for shard in shards]
        self._ends = list(itertools.accumulate(index.samples for index in self._indexes))
        self.name = name or folder_name(shards[0].parent)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the layout and of each shard's index, which has offset, size and checksum of every sample."""
        content = [asdict(self._layout), [index.digest for index in self._indexes]]
        content += ["caption on each line"] if self._is_caption_a_line else []
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @property
    def block_sizes(self) -> Sequence[int]:
        """Samples in each shard."""
        return [index.samples for index in self._indexes]

    def read(self, index: int) -> RawSample:
        """The sample at an index.

        Raises:
            Damaged: If its bytes cannot be read, or are no longer those that were indexed.
            ValueError: If its shard was replaced since this source was built.
        """
        shard, number = self._place(index)
        image, caption = shard.read(number)
        return RawSample(image, self._captions(caption, f"{shard.path} sample {number}"))

    def captions(self) -> Iterator[str]:
        """Every caption once, in the order of the indices, without reading images."""
        for index in range(len(self)):
            shard, number = self._place(index)
            yield from self._captions(shard.read_caption(number), f"{shard.path} sample {number}")

    def _captions(self, content: bytes, place: str) -> tuple[str, ...]:
        """The captions in the content of a caption member."""
        captions = self._layout.captions(content, place)
        if not self._is_caption_a_line:
            return captions
        return tuple(line.strip() for text in captions for line in text.splitlines() if line.strip())

    def __len__(self) -> int:
        """Number of samples."""
        return self._ends[-1]

    def __getstate__(self) -> dict[str, Any]:
        """Without the open files: each process opens its own."""
        return {key: value for key, value in self.__dict__.items() if key != "_opened"}

    @functools.cached_property
    def _opened(self) -> Callable[[int], "_OpenShard"]:
        """The shards that were read last, by number."""
        indexes = self._indexes
        return functools.lru_cache(_MAX_OPEN)(lambda number: _OpenShard(indexes[number]))

    def _place(self, index: int) -> tuple["_OpenShard", int]:
        """The shard in which a sample is, and its number there."""
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is not in [0, {len(self)})")
        number = bisect.bisect_right(self._ends, index)
        return self._opened(number), index - (self._ends[number - 1] if number else 0)


class _OpenShard:
    """A shard and its index, open as long as this object lives.

    All reads name their position, so a process that is forked may go on with the same descriptors.
    """

    def __init__(self, index: ShardIndex) -> None:
        self.path = index.shard
        self._records = len(index.head)
        # The index stays on disk too: memory does not grow with the samples, and the system keeps what is in use.
        self._files = [open(path, "rb", buffering=0) for path in (index.path, index.shard)]  # noqa: SIM115
        self._index, self._shard = (file.fileno() for file in self._files)
        head = os.pread(self._index, len(index.head), 0)
        if head != index.head or not is_unchanged(index, os.fstat(self._shard)):
            raise ValueError(f"{self.path} or its index {index.path} was replaced while in use; start again")

    def __del__(self) -> None:
        for file in getattr(self, "_files", ()):
            file.close()

    def read(self, number: int) -> tuple[bytes, bytes]:
        """Image and caption of a sample, checked."""
        image_offset, image_size, caption_offset, caption_size, crc = self._record(number)
        image = self._content(image_offset, image_size)
        caption = self._content(caption_offset, caption_size)
        if zlib.crc32(caption, zlib.crc32(image)) != crc:
            raise Damaged("bytes in the shard differ from its index")
        return image, caption

    def read_caption(self, number: int) -> bytes:
        """Caption of a sample, unchecked, since the checksum is of the image too."""
        _, _, offset, size, _ = self._record(number)
        return self._content(offset, size)

    def _record(self, number: int) -> tuple[int, int, int, int, int]:
        image, image_size, caption, caption_size, crc = RECORD.unpack(
            os.pread(self._index, RECORD.size, self._records + number * RECORD.size)
        )
        return image, image_size, caption, caption_size, crc

    def _content(self, offset: int, size: int) -> bytes:
        try:
            return os.pread(self._shard, size, offset)
        except OSError as error:
            raise Damaged(f"shard cannot be read ({error.strerror})") from None


def _layout(
    image_extensions: Sequence[str] | None, caption_extension: str, caption_column: Sequence[str] | str | None
) -> Layout:
    """The layout that a user's arguments mean."""
    images = IMAGE_EXTENSIONS if image_extensions is None else tuple(map(_extension, image_extensions))
    caption = _extension(caption_extension)
    columns = (caption_column,) if isinstance(caption_column, str) else tuple(caption_column or ())
    if not images or caption in images:
        raise ValueError(f"image_extensions {list(images)} must name one at least, and not that of the captions")
    if caption_column is not None and not columns:
        raise ValueError("caption_column is an empty list; name one column at least")
    if (caption.rpartition(".")[2] == "json") != bool(columns):
        raise ValueError(
            f"caption_extension is {caption!r} and caption_column {caption_column!r}; captions in JSON need both, such "
            "as caption_extension='json' and caption_column='caption', others no column"
        )
    return Layout(images, caption, columns)


def _extension(extension: str) -> str:
    """Without the dot before it, and in lower case."""
    return extension.lower().removeprefix(".")


def _find(path: Sequence[str] | str | Path) -> list[Path]:
    """The shards that a path, a pattern or a list of them means."""
    patterns = [str(path)] if isinstance(path, str | Path) else [str(item) for item in path]
    shards = [shard for pattern in patterns for shard in _matches(pattern)]
    if not shards:
        raise ValueError("path is an empty list; name one shard at least")
    seen: set[Path] = set()
    for shard in shards:
        if shard.absolute() in seen:
            raise ValueError(f"the shard {shard} is named twice; for more of its samples give the source a weight")
        seen.add(shard.absolute())
    return shards


def _matches(pattern: str) -> Iterator[Path]:
    """The shards of one pattern."""
    if re.match(r"pipe:|[A-Za-z][A-Za-z0-9+.-]*://", pattern):
        raise ValueError(f"{pattern!r} is not a local file; shards are read from local files only, so copy them first")
    # A file that is called like a pattern is itself.
    for name in [pattern] if os.path.exists(pattern) else _expanded(pattern):
        if os.path.isdir(name):
            raise ValueError(f"{name} is a folder; name its shards by a pattern such as {name.rstrip('/')}/*.tar")
        if os.path.isfile(name):
            yield Path(name)
        elif found := sorted(glob.glob(name, recursive=True)):
            yield from map(Path, found)
        else:
            raise ValueError(f"there is no shard {name}" + (f" (from {pattern})" if name != pattern else ""))


def _expanded(pattern: str) -> list[str]:
    """A pattern with braces as the patterns without that it stands for, in the way of webdataset."""
    try:
        return list(braceexpand(pattern))
    except ValueError as error:
        raise ValueError(f"the braces in {pattern!r} are wrong: {error}") from None
