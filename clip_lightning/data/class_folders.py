"""Images in a folder for each class: captions from class names, or labels."""

import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from clip_lightning.data.base import RawSample, Source
from clip_lightning.data.class_names import NamedClass, distinct, named, read_class_names
from clip_lightning.data.folder_files import folder_name, is_image, list_folder, shown, walk
from clip_lightning.data.image_files import ImageFiles
from clip_lightning.data.labelled import LabelledDataset
from clip_lightning.data.packed import PackedTexts
from clip_lightning.data.share import Share
from clip_lightning.text import fill, read_templates

FolderNames = Mapping[str, str | list[str]] | Sequence[str] | str | Path


class ClassFolders(Source):
    """Image-text pairs of a folder with a folder for each class; the captions are the class's names in templates.

    Images may lie in subfolders of a class's. The order is that of the classes, then alphabetical. Files with other
    extensions than an image's are no part of it, nor those whose name, or whose folder's, begins with a dot.

    Args:
        path: The folder with the classes' folders.
        templates: Sentences with a ``{}`` each for the class name, or a text file with one a line.
        class_names: Name or names for each folder, by the folder's name; or a list of folders; or a text file that has
            on each line a folder, or ``folder: name``, with further names separated by " | ". A folder may be written
            with blanks for its underscores. By default all folders, alphabetically, each named as it is called, with
            blanks for underscores.
        share: Lower and upper bound, 0-1, of the images to take, by a hash of their paths: ``[0, 0.9]`` to train on and
            ``[0.9, 1]`` to evaluate have no image in common.
        name: Short name for logs; by default the name of the folder.

    Raises:
        ValueError: If a class has no folder or no image, a folder is no class, a name occurs twice, or images lie
            beside the classes' folders, with their names.
    """

    def __init__(
        self,
        path: str | Path,
        templates: list[str] | str | Path,
        class_names: dict[str, str | list[str]] | list[str] | str | Path | None = None,
        share: tuple[float, float] = (0.0, 1.0),
        name: str | None = None,
    ) -> None:
        self._tree = _ClassTree(Path(path), class_names, Share(share))
        templates = read_templates(templates)
        self._class_captions = [
            tuple(fill(template, one) for template in templates for one in names) for names in self._tree.names
        ]
        self.name = name or folder_name(path)
        self._files = self._tree.files(
            self.name, [caption for captions in self._class_captions for caption in captions]
        )

    @property
    def fingerprint(self) -> str:
        """Hash of the images' paths and sizes, and of the captions."""
        return self._files.fingerprint

    @property
    def block_sizes(self) -> Sequence[int]:
        """All images are one block."""
        return self._files.block_sizes

    def read(self, index: int) -> RawSample:
        """An image, and each template with each name of its class.

        Raises:
            Damaged: If the image cannot be read.
        """
        return RawSample(self._files.read(index).image, self._class_captions[self._tree.labels[index]])

    def captions(self) -> Iterator[str]:
        """Every caption of every image, in the order of the images."""
        for label in self._tree.labels:
            yield from self._class_captions[label]

    def place(self, index: int) -> str:
        """Path of an image, for messages."""
        return self._files.place(index)


class LabelledFolders(LabelledDataset):
    """Labelled images of a folder with a folder for each class.

    Args:
        path: The folder with the classes' folders, as ``ClassFolders`` has it.
        templates: Sentences with a ``{}`` each for the class name, or a text file with one a line.
        class_names: As in ``ClassFolders``.
        share: As in ``ClassFolders``.
        name: Short name, part of a metric's key; by default the name of the folder.
        split: Which part of the data it is, for reports.

    Raises:
        ValueError: As ``ClassFolders``.
    """

    def __init__(
        self,
        path: str | Path,
        templates: list[str] | str | Path,
        class_names: dict[str, str | list[str]] | list[str] | str | Path | None = None,
        share: tuple[float, float] = (0.0, 1.0),
        name: str | None = None,
        split: str = "test",
    ) -> None:
        tree = _ClassTree(Path(path), class_names, Share(share))
        self._labels = tree.labels
        self.class_names = tree.names
        self.templates = read_templates(templates)
        self.name = name or folder_name(path)
        self.split = split
        self.source = tree.files(self.name)

    def target(self, index: int) -> int:
        """The class in whose folder an image lies."""
        return int(self._labels[index])


class _ClassTree:
    """The images in classes' folders.

    Args:
        root: The folder with the classes' folders.
        class_names: As in ``ClassFolders``.
        share: Which of the images are taken.

    Attributes:
        names: One or several names for each class.
        labels: The class of each image.
    """

    def __init__(self, root: Path, class_names: FolderNames | None, share: Share) -> None:
        self._root = root
        top = list_folder(root)
        if strays := [name for name in top.files if is_image(name)]:
            raise ValueError(f"{root} has {len(strays)} images in no class's folder ({shown(strays)}); move them")
        if not top.folders:
            raise ValueError(f"{root} has no folders; put the images of each class into a folder of its own")
        classes = _classes(root, top.folders, class_names)
        self.names = [one.names for one in classes.values()]
        labels = array.array("i")
        self._paths = PackedTexts(_images(root, classes, share, labels))
        if not labels:
            raise ValueError(f"{root} has no images in {share}; take a larger share")
        self.labels = np.array(labels, dtype=np.int32)
        self._share = share

    def files(self, name: str, texts: Sequence[str] = ()) -> ImageFiles:
        """The images, with texts that their fingerprint depends on."""
        return ImageFiles(self._root, self._paths, name, [*texts, f"share {self._share.bounds}"])


def _images(root: Path, folders: Mapping[str, NamedClass], share: Share, labels: "array.array[int]") -> Iterator[str]:
    """Paths of the images to take, whose classes are put into ``labels``."""
    empty = []
    for label, folder in enumerate(folders):
        images = [prefix + file for prefix, files in walk(root, f"{folder}/") for file in files if is_image(file)]
        if not images:
            empty.append(folder)
        for image in images:
            if image in share:
                labels.append(label)
                yield image
    if empty:
        raise ValueError(f"{root} has no images in the folders of the classes {empty}; remove these folders")


def _spoken(folder: str) -> str:
    return folder.replace("_", " ")


def _classes(root: Path, folders: Sequence[str], class_names: FolderNames | None) -> dict[str, NamedClass]:
    """Names of the classes by folder, in the order of the labels."""
    if class_names is None:
        return dict(zip(folders, distinct(named(str(root / one), _spoken(one)) for one in folders), strict=True))
    there = {_spoken(folder): folder for folder in folders} | {folder: folder for folder in folders}
    classes: dict[str, NamedClass] = {}
    for folder, one in _given(class_names):
        if folder not in there:
            raise ValueError(
                f"{one.place}: {root} has no folder {folder!r} for the class; it has {shown(list(folders))}"
            )
        if there[folder] in classes:
            raise ValueError(f"{one.place}: folder {folder!r} is named before, at {classes[there[folder]].place}")
        classes[there[folder]] = one
    if unknown := [folder for folder in folders if folder not in classes]:
        raise ValueError(f"{root} has {len(unknown)} folders without a class name ({shown(unknown)}); name them too")
    distinct(classes.values())
    return classes


def _given(class_names: FolderNames) -> Iterator[tuple[str, NamedClass]]:
    """Folders and the names of their classes."""
    if isinstance(class_names, Mapping):
        for folder, names in class_names.items():
            yield folder, named(f"class_names[{folder!r}]", names)
        return
    for place, names in read_class_names(class_names):
        folder, colon, first = names[0].partition(": ")
        yield folder, NamedClass(place, [first if colon else _spoken(folder), *names[1:]])
