"""PASCAL VOC 2007 as a set with several labels an image."""

from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import numpy as np
from numpy import ndarray as NDArray

from clip_lightning.data.class_names import in_own_order, read_class_names
from clip_lightning.data.image_files import ImageFiles
from clip_lightning.data.labelled import LabelledDataset
from clip_lightning.text import read_lines, read_templates

VOC_CLASSES = [
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
]
_SIZES = {"train": 2_501, "val": 2_510, "trainval": 5_011, "test": 4_952}


class VocLabels(LabelledDataset):
    """Photographs with what is on them: for each of 20 classes 0 or 1, in the layout of the release.

    A class is there if one of its objects is; objects that the annotators mark as difficult do not count. VOC's own
    tool leaves an image that has only difficult objects of a class out of that class's precision; here it counts as
    one without. The metric is the mean over classes of the 11-point average precision.

    Args:
        path: The release's ``VOCdevkit/VOC2007``, with ``Annotations``, ``ImageSets/Main`` and ``JPEGImages``.
        split: "train", "val", "trainval" or "test".
        templates: As ``read_templates`` takes them.
        class_names: As ``read_class_names`` takes them, in alphabetical order of VOC's own; by default these.

    Raises:
        ValueError: If files are missing or not as the release has them, with the file.

    Source: Everingham et al. 2010, "The PASCAL Visual Object Classes (VOC) Challenge".
    """

    def __init__(
        self,
        path: str | Path,
        split: Literal["train", "val", "trainval", "test"] = "test",
        templates: list[str] | str | Path = ("a photo of a {}.",),  # type: ignore[assignment]
        class_names: list[str | list[str]] | str | Path | None = None,
    ) -> None:
        if split not in _SIZES:
            raise ValueError(f"VOC 2007 has no split {split!r}; use one of {', '.join(_SIZES)}")
        path = Path(path)
        images = read_lines(path / "ImageSets" / "Main" / f"{split}.txt")
        self._labels = np.stack([_present(path / "Annotations" / f"{image}.xml") for image in images])
        names = in_own_order(
            read_class_names(VOC_CLASSES if class_names is None else class_names), VOC_CLASSES, "VOC 2007"
        )
        self.class_names = [one.names for one in names]
        self.templates = read_templates(templates)
        self.name, self.split = "voc2007", split
        self.metric = "mean_average_precision_11_point"
        self.source = ImageFiles(path, (f"JPEGImages/{image}.jpg" for image in images), self.name)
        self.published_size = _SIZES[split]
        self.tell_size()

    def target(self, index: int) -> NDArray:
        """For each class, whether it is there."""
        labels: NDArray = self._labels[index]
        return labels


def _present(path: Path) -> NDArray:
    """For each class, whether an image's annotations have an object of it that is not difficult."""
    try:
        objects = ElementTree.parse(path).getroot().findall("object")
        there = {str(one.findtext("name")) for one in objects if one.findtext("difficult", "0").strip() != "1"}
    except (OSError, ElementTree.ParseError) as error:
        raise ValueError(f"cannot read the annotations {path}: {error}") from None
    if unknown := there.difference(VOC_CLASSES):
        raise ValueError(f"{path} has objects of the classes {sorted(unknown)}, which VOC 2007 does not have")
    return np.array([name in there for name in VOC_CLASSES], dtype=np.int64)
