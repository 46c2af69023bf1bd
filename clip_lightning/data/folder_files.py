"""The image files of a folder."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from clip_lightning.data.packed import PackedTexts
from clip_lightning.data.shard_layout import IMAGE_EXTENSIONS
from clip_lightning.refusal import did_you_mean

_SHOWN = 5


class Listing(NamedTuple):
    """What is in a folder, in alphabetical order, without entries whose name begins with a dot.

    Args:
        folders: Names of the folders in it.
        files: Names of the other entries.
    """

    folders: list[str]
    files: list[str]


def list_folder(folder: Path) -> Listing:
    """What is in a folder.

    Raises:
        ValueError: If it cannot be read.
    """
    folders: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    (folders if entry.is_dir() else files).append(entry.name)
    except OSError as error:
        raise ValueError(f"cannot read the folder {folder}: {error.strerror}{did_you_mean(folder)}") from None
    return Listing(sorted(folders), sorted(files))


def folder_name(folder: str | Path) -> str:
    """Name of a folder as it is given: a link has its own, whatever it leads to."""
    return os.path.basename(os.path.abspath(folder))


def walk(root: Path, prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    """Every folder in a folder and itself, as its path relative to the root with a "/" at the end, and its files."""
    listing = list_folder(root / prefix)
    yield prefix, listing.files
    for folder in listing.folders:
        yield from walk(root, f"{prefix}{folder}/")


def is_image(name: str) -> bool:
    """Whether a file is one of an image, by its extension."""
    return os.path.splitext(name)[1][1:].lower() in IMAGE_EXTENSIONS


def shown(names: list[str]) -> str:
    """Some of many names, for messages."""
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


class Fingerprint:
    """Hash over files by their relative path and size, and over texts.

    Images are not read, since a fingerprint is asked for at every start; of two images at the same path the size nearly
    always differs. The time of change is left out: it is another after copying or unpacking the same data.

    Args:
        root: Folder that the paths are relative to.
        settings: What else the samples depend on.
    """

    def __init__(self, root: Path, settings: Iterable[str] = ()) -> None:
        self._root = root
        self._digest = hashlib.sha256()
        for setting in settings:
            self.add_text(setting)

    def add_text(self, text: str) -> None:
        """Takes a text in."""
        data = text.encode("utf-8", "surrogateescape")
        self._digest.update(len(data).to_bytes(8, "little") + data)

    def add_files(self, paths: PackedTexts) -> None:
        """Takes files in; one that is gone has no size."""
        for path in paths:
            try:
                size = (self._root / path).stat().st_size
            except OSError:
                size = -1
            self.add_text(f"{path}\0{size}")

    def hexdigest(self) -> str:
        """The hash."""
        return self._digest.hexdigest()
