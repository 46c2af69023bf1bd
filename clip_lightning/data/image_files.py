"""Image files under one folder, without captions."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from clip_lightning.data.base import RawSample, Source
from clip_lightning.data.folder_files import Fingerprint
from clip_lightning.data.manifest import read_image
from clip_lightning.data.packed import PackedTexts


class ImageFiles(Source):
    """Images by their paths; what a labelled set of files stands on.

    Args:
        root: Folder that the paths are relative to.
        paths: The images, in the order of the indices.
        name: Short name for logs.
        settings: What else the samples depend on, for the fingerprint.
    """

    def __init__(self, root: Path, paths: Iterable[str], name: str, settings: Iterable[str] = ()) -> None:
        self.name = name
        self._root = root
        self._paths = paths if isinstance(paths, PackedTexts) else PackedTexts(paths)
        self._settings = list(settings)

    @property
    def fingerprint(self) -> str:
        """Hash of the images' paths and sizes."""
        fingerprint = Fingerprint(self._root, self._settings)
        fingerprint.add_files(self._paths)
        return fingerprint.hexdigest()

    @property
    def block_sizes(self) -> Sequence[int]:
        """All images are one block."""
        return (len(self._paths),)

    def read(self, index: int) -> RawSample:
        """An image.

        Raises:
            Damaged: If it cannot be read.
        """
        return RawSample(read_image(self._root / self._paths[index]), ())

    def captions(self) -> Iterator[str]:
        """None."""
        return iter(())

    def place(self, index: int) -> str:
        """Path of an image, for messages."""
        return str(self._root / self._paths[index])
