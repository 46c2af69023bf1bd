"""ImageNet and its shifts that are folders of photographs: V2, Sketch, A and R."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from clip_lightning.data.folder_files import folder_name, is_image, list_folder, shown
from clip_lightning.data.image_files import ImageFiles
from clip_lightning.data.labelled import LabelledDataset
from clip_lightning.text import read_templates
from clip_lightning.text.packaged import package_file, packaged

Subset = Literal["imagenet", "imagenet_a", "imagenet_r"]
Names = Literal["own", "imagenet"]
"""Whose names describe the classes of a shift: its own, or those of the classes of ImageNet that it is of."""

IMAGENET_TEMPLATES = "open_clip:OPENAI_IMAGENET_TEMPLATES"
_CLASSES = 1_000


class ImageNetFolders(LabelledDataset):
    """Photographs of ImageNet's classes, a folder for each, called by its WordNet identifier or by its number.

    Folders are told by their names and not by their order: as texts, "10" comes before "2". ImageNet-A and ImageNet-R
    have 200 of the classes, and only these are scored; which ones says timm.

    Args:
        path: The folder with the classes' folders, such as ``ILSVRC2012/val``.
        subset: "imagenet", "imagenet_a" or "imagenet_r".
        templates: As ``read_templates`` takes them; by default the 80 of CLIP's authors.
        class_names: A list of 1,000 names in the order of ImageNet's labels, or the name of one in an installed
            package; by default that of CLIP's authors. Of the names some occur twice.
        name: Short name, part of a metric's key; by default the name of the folder.
        split: Which part of the data it is, for reports.
        published_size: Number of images that publications report; another one is told of.

    Raises:
        ValueError: If the folder is not there, or has not the classes of the subset.

    Source: Hendrycks et al. 2021 (ImageNet-A, arXiv 1907.07174; ImageNet-R, arXiv 2006.16241); Recht et al. 2019
    (ImageNetV2, arXiv 1902.10811); Wang et al. 2019 (ImageNet-Sketch, arXiv 1905.13549).
    """

    def __init__(
        self,
        path: str | Path,
        subset: Subset = "imagenet",
        templates: list[str] | str | Path = IMAGENET_TEMPLATES,
        class_names: list[str | list[str]] | str = "open_clip:IMAGENET_CLASSNAMES",
        name: str | None = None,
        split: str = "test",
        published_size: int | None = None,
    ) -> None:
        if subset not in get_args(Subset):
            raise ValueError(f"there is no subset {subset!r} of ImageNet; use one of {', '.join(get_args(Subset))}")
        path = Path(path)
        wordnet_ids = imagenet_ids("imagenet")
        scored = sorted(wordnet_ids.index(one) for one in imagenet_ids(subset))
        names = imagenet_names(class_names)
        self.class_names = [names[number] for number in scored]
        self.templates = read_templates(templates)
        self.name = name or folder_name(path)
        self.split = split
        folders = _folders(path, wordnet_ids, scored)
        files = [(f"{folder}/{file}", label) for folder, label in folders.items() for file in _images(path / folder)]
        self._labels = np.array([label for _, label in files], dtype=np.int64)
        self.source = ImageFiles(path, (file for file, _ in files), self.name)
        self.published_size = published_size
        self.tell_size()

    def target(self, index: int) -> int:
        """Place of the class of an image among those that are scored."""
        return int(self._labels[index])


def imagenet_ids(subset: Subset) -> list[str]:
    """WordNet identifiers of ImageNet's 1,000 classes in the order of their labels, or those of a subset."""
    return package_file("timm", f"data/_info/{subset}_synsets.txt").read_text("utf-8").split()


def imagenet_names(class_names: Sequence[str | list[str]] | str) -> list[list[str]]:
    """One or several names for each of ImageNet's classes.

    Raises:
        ValueError: If there are not 1,000.
    """
    given = packaged(class_names) if isinstance(class_names, str) else class_names
    if len(given) != _CLASSES:
        raise ValueError(f"class_names has {len(given)} classes; give one for each of ImageNet's 1,000 labels")
    return [[one] if isinstance(one, str) else list(one) for one in given]


def _folders(path: Path, wordnet_ids: list[str], scored: list[int]) -> dict[str, int]:
    """Label of each folder: the place of its class among those that are scored."""
    found = list_folder(path).folders
    label_of = {wordnet_ids[number]: label for label, number in enumerate(scored)}
    if all(folder.isdecimal() for folder in found):
        label_of = {str(number): label for label, number in enumerate(scored)}
    missing = sorted(label_of.keys() - set(found))
    strange = sorted(set(found) - label_of.keys())
    if missing or strange:
        raise ValueError(
            f"{path} is to have a folder for each of {len(scored)} classes; missing are {len(missing)} "
            f"({shown(missing)}), and {len(strange)} are none of them ({shown(strange)})"
        )
    return {folder: label_of[folder] for folder in found}


def _images(folder: Path) -> list[str]:
    return [file for file in list_folder(folder).files if is_image(file)]
