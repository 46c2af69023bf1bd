"""Image-text pairs in a folder: each image with a text file beside it."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from clip_lightning.data.base import Damaged, RawSample, Source
from clip_lightning.data.folder_files import Fingerprint, folder_name, is_image, shown, walk
from clip_lightning.data.manifest import read_image
from clip_lightning.data.packed import PackedTexts
from clip_lightning.data.share import Share

_TEXT = ".txt"


class ImageTextFolder(Source):
    """Images of a folder and its subfolders, each with a text file of the same name but for the extension.

    Each line of the text file that is not blank is a caption. The order is alphabetical. Files with other extensions
    are no part of it, nor those whose name, or whose folder's, begins with a dot. The texts are read once at the
    beginning, to check them, and then again with each sample.

    Args:
        path: The folder.
        allow_unpaired: Whether images without a text, and texts without an image, are left out with a warning.
        share: Lower and upper bound, 0-1, of the images to take, by a hash of their paths: ``[0, 0.9]`` to train on and
            ``[0.9, 1]`` to evaluate have no image in common.
        name: Short name for logs; by default the name of the folder.

    Raises:
        ValueError: If the folder cannot be read or has no pair, files are unpaired, or a text is blank or not UTF-8,
            with the path.
    """

    def __init__(
        self,
        path: str | Path,
        allow_unpaired: bool = False,
        share: tuple[float, float] = (0.0, 1.0),
        name: str | None = None,
    ) -> None:
        self._root = Path(path)
        unpaired = _Unpaired()
        taken = Share(share)
        self._paths = PackedTexts(image for image in _paired(self._root, unpaired) if image in taken)
        unpaired.report(self._root, allow_unpaired)
        if not len(self._paths):
            raise ValueError(f"{path} has no image with a {_TEXT} file of the same name beside it in {taken}")
        fingerprint = Fingerprint(self._root)
        for image in self._paths:
            for caption in self._captions(image):
                fingerprint.add_text(caption)
            fingerprint.add_text("")
        self._texts = fingerprint.hexdigest()
        self.name = name or folder_name(self._root)

    @property
    def fingerprint(self) -> str:
        """Hash of the images' paths and sizes, and of the captions as they were found at the beginning."""
        fingerprint = Fingerprint(self._root, [self._texts])
        fingerprint.add_files(self._paths)
        return fingerprint.hexdigest()

    @property
    def block_sizes(self) -> Sequence[int]:
        """All images are one block."""
        return (len(self._paths),)

    def read(self, index: int) -> RawSample:
        """An image and the lines of its text.

        Raises:
            Damaged: If the image cannot be read, or the text has been changed for the worse since the beginning.
        """
        path = self._paths[index]
        image = read_image(self._root / path)
        try:
            return RawSample(image, self._captions(path))
        except ValueError:
            raise Damaged("text file has become unreadable") from None

    def captions(self) -> Iterator[str]:
        """Every caption once, in the order of the images."""
        for path in self._paths:
            yield from self._captions(path)

    def place(self, index: int) -> str:
        """Path of an image, for messages."""
        return str(self._root / self._paths[index])

    def _captions(self, image: str) -> tuple[str, ...]:
        path = (self._root / image).with_suffix(_TEXT)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ValueError(f"cannot read {path}: {error.strerror}") from None
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise ValueError(f"{path}:{line} is not UTF-8 text ({error.reason}); save it as UTF-8") from None
        captions = tuple(line.strip() for line in text.split("\n") if line.strip())
        if not captions:
            raise ValueError(f"{path} is blank; write a caption a line, or remove it and its image")
        return captions


class _Unpaired:
    """Images without text and texts without image, of which some are named and all counted."""

    def __init__(self) -> None:
        self.images: list[str] = []
        self.texts: list[str] = []

    def report(self, root: Path, allowed: bool) -> None:
        """Refuses them, or warns of them."""
        found = [
            f"{len(names)} {what} ({shown(names)})"
            for names, what in ((self.images, "images without a text"), (self.texts, "texts without an image"))
            if names
        ]
        if not found:
            return
        if not allowed:
            raise ValueError(
                f"{root} has {' and '.join(found)}; add what is missing, or leave them out with allow_unpaired"
            )
        warnings.warn(f"{' and '.join(found)} in {root} are left out", stacklevel=3)


def _paired(root: Path, unpaired: _Unpaired) -> Iterator[str]:
    """Paths of the images that have a text."""
    for prefix, files in walk(root):
        texts = {name.removesuffix(_TEXT) for name in files if name.endswith(_TEXT)}
        images = [name for name in files if is_image(name)]
        stems = {name.rpartition(".")[0] for name in images}
        unpaired.texts += [f"{prefix}{stem}{_TEXT}" for stem in sorted(texts - stems)]
        for name in images:
            if name.rpartition(".")[0] in texts:
                yield prefix + name
            else:
                unpaired.images.append(prefix + name)
