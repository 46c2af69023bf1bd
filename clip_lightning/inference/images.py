"""Images that nothing is known of but where they are: in folders, by themselves, or in shards."""

import array
import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from braceexpand import braceexpand

from clip_lightning.data import Damaged, RawSample, Source
from clip_lightning.data.folder_files import Fingerprint, is_image, shown, walk
from clip_lightning.data.manifest import read_image
from clip_lightning.data.packed import PackedTexts
from clip_lightning.data.shard_layout import IMAGE_EXTENSIONS
from clip_lightning.data.tar import members

SHARD = ".tar"


class FoundImages(Source):
    """Images without captions, each in a file of its own or in a shard.

    Attributes:
        left_out: What lies beside the images and is none of them, in words; empty if there is nothing.
    """

    left_out: str = ""

    def file(self, index: int) -> Path:
        """The file that holds an image: its own, or a shard."""
        raise NotImplementedError

    def key(self, index: int) -> str:
        """What an image is called within the folder or the shard that was named."""
        raise NotImplementedError

    def captions(self) -> Iterator[str]:
        """None."""
        return iter(())


class ImageFiles(FoundImages):
    """The images of folders and their subfolders, and files that are named themselves, in the order that is given.

    Within a folder the order is alphabetical. A file that is named itself is taken for an image, whatever its name; in
    a folder the extension tells, and what begins with a dot is no part of it.

    Args:
        places: Folders and files.

    Raises:
        ValueError: If there is no image, with what there is instead.
    """

    def __init__(self, places: Sequence[Path]) -> None:
        self._roots = [place if place.is_dir() else place.parent for place in places]
        others: list[str] = []
        self._names = PackedTexts(_named(places, others))
        if not len(self._names):
            raise ValueError(_nothing(places, others))
        if others:
            one = "1 file that is no image" if len(others) == 1 else f"{len(others):,} files that are no images"
            self.left_out = f"{one} by the extension ({shown(others)})"
        self.name = ", ".join(str(place) for place in places[:3]) + (", ..." if len(places) > 3 else "")

    @property
    def fingerprint(self) -> str:
        """Hash of the images' paths within what was named, and of their sizes."""
        fingerprint = Fingerprint(Path())
        for name in self._names:
            number, _, key = name.partition("/")
            try:
                size = (self._roots[int(number)] / key).stat().st_size
            except OSError:
                size = -1
            fingerprint.add_text(f"{name}\0{size}")
        return fingerprint.hexdigest()

    @property
    def block_sizes(self) -> Sequence[int]:
        """All images are one block."""
        return (len(self._names),)

    def read(self, index: int) -> RawSample:
        """An image.

        Raises:
            Damaged: If it cannot be read.
        """
        return RawSample(read_image(self.file(index)), ())

    def file(self, index: int) -> Path:
        """The image file."""
        number, _, name = self._names[index].partition("/")
        return self._roots[int(number)] / name

    def key(self, index: int) -> str:
        """Path within the folder that was named, or the name of a file that was."""
        return self._names[index].partition("/")[2]

    def place(self, index: int) -> str:
        """The image's path."""
        return str(self.file(index))


class ShardImages(FoundImages):
    """The images in shards: every member of the tars that is an image by its extension, whatever else is beside it.

    Only the headers are read at the beginning, which is also the check that the tars are whole.

    Args:
        shards: Tar files, in the order in which they are read.

    Raises:
        ValueError: If a shard is not whole, with the byte, or none has an image.
    """

    def __init__(self, shards: Sequence[Path]) -> None:
        self._shards = list(shards)
        self._shard, self._offset, self._size = array.array("I"), array.array("Q"), array.array("Q")
        self._keys = PackedTexts(self._members())
        if not len(self._keys):
            raise ValueError(f"no image is in {shown([str(shard) for shard in shards])}; it may end in {_extensions()}")
        self.name = shown([shard.name for shard in shards])

    def _members(self) -> Iterator[str]:
        """Names of the images, whose places are noted."""
        for number, shard in enumerate(self._shards):
            with shard.open("rb") as opened:
                for member in members(opened.fileno(), shard):
                    if is_image(member.name):
                        self._shard.append(number)
                        self._offset.append(member.offset)
                        self._size.append(member.size)
                        yield member.name

    @property
    def fingerprint(self) -> str:
        """Hash of the members' names and places, and of the shards' sizes."""
        fingerprint = Fingerprint(Path(), self._keys)
        for numbers in (self._shard, self._offset, self._size):
            fingerprint.add_text(numbers.tobytes().hex())
        fingerprint.add_files(PackedTexts(str(shard) for shard in self._shards))
        return fingerprint.hexdigest()

    @property
    def block_sizes(self) -> Sequence[int]:
        """Images in each shard."""
        return [int(count) for count in np.bincount(np.array(self._shard), minlength=len(self._shards))]

    def __len__(self) -> int:
        """Number of images."""
        return len(self._keys)

    def read(self, index: int) -> RawSample:
        """An image.

        Raises:
            Damaged: If its bytes cannot be read.
        """
        try:
            with self.file(index).open("rb") as shard:
                content = os.pread(shard.fileno(), self._size[index], self._offset[index])
        except OSError as error:
            raise Damaged(f"shard cannot be read ({error.strerror})") from None
        return RawSample(content, ())

    def file(self, index: int) -> Path:
        """The shard."""
        return self._shards[self._shard[index]]

    def key(self, index: int) -> str:
        """Name of the member."""
        return self._keys[index]

    def place(self, index: int) -> str:
        """The shard and the member in it."""
        return f"{self.file(index)}:{self.key(index)}"


def find_images(places: Sequence[str]) -> FoundImages:
    """The images that a user means.

    Args:
        places: Folders, image files, or shards, also as patterns such as ``photos/*.jpg`` or ``train-{000..099}.tar``.

    Raises:
        ValueError: If there is nothing of a name, no image in it, or shards are mixed with other files.
    """
    found = [Path(match) for place in places for match in _matches(place)]
    shards = [path for path in found if path.suffix.lower() == SHARD and path.is_file()]
    if not shards:
        return ImageFiles(found)
    if len(shards) < len(found):
        other = next(path for path in found if path not in shards)
        raise ValueError(f"{str(shards[0])!r} is a shard and {str(other)!r} is none; name shards alone")
    return ShardImages(shards)


def printable(name: str) -> str:
    """A file name as text that can be written anywhere, in one line; what cannot be printed is spelled out."""
    text = name.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(one if one.isprintable() or one == " " else repr(one)[1:-1] for one in text)


def _matches(place: str) -> list[str]:
    """What a name or a pattern means, in order."""
    if os.path.exists(place):
        return [place]
    try:
        patterns = list(braceexpand(place))
    except ValueError as error:
        raise ValueError(f"the braces in {place!r} are wrong: {error}") from None
    found = []
    for pattern in patterns:
        there = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern, recursive=True))
        if not there:
            raise ValueError(
                f"there is no file or folder {pattern!r}" + (f" (of {place!r})" if len(patterns) > 1 else "")
            )
        found += there
    return found


def _named(places: Iterable[Path], others: list[str]) -> Iterator[str]:
    """Number of the place and name in it of each image; the names of what is none are put into ``others``."""
    for number, place in enumerate(places):
        if not place.is_dir():
            yield f"{number}/{place.name}"
            continue
        for prefix, files in walk(place):
            for name in files:
                if is_image(name):
                    yield f"{number}/{prefix}{name}"
                else:
                    others.append(prefix + name)


def _nothing(places: Sequence[Path], others: Sequence[str]) -> str:
    """What to say where there is no image."""
    where = shown([str(place) for place in places])
    if not others:
        return f"{where} is empty: there is no image in it"
    if any(name.lower().endswith(SHARD) for name in others):
        return f"{where} holds no image files but shards; name them by a pattern such as {places[0]}/*{SHARD}"
    return f"{where} holds no image but {shown(list(others))}; the name of an image ends in {_extensions()}"


def _extensions() -> str:
    return ", ".join(f".{extension}" for extension in IMAGE_EXTENSIONS)
