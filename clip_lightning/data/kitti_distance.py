"""How far the nearest vehicle is, on the photographs of KITTI."""

from pathlib import Path

import numpy as np

from clip_lightning.data.class_names import read_class_names
from clip_lightning.data.folder_files import list_folder
from clip_lightning.data.image_files import ImageFiles
from clip_lightning.data.labelled import LabelledDataset
from clip_lightning.text import read_lines, read_templates

_VEHICLES = ("Car", "Van", "Truck")
_BOUNDS = (8.0, 20.0)
"""Metres along the camera's axis, up to which a vehicle is near, and farther but still close by."""
_NONE = len(_BOUNDS) + 1
_DEPTH = 13
"""Column of that distance in a line of KITTI's labels."""


class KittiDistance(LabelledDataset):
    """Photographs from a car, by the distance of the nearest car, van or truck: up to 8 m, up to 20 m, farther, none.

    The release has no split: the one that is published in numbers, 711 images to test, is in the shards of
    clip_benchmark, ``wds_vtab-kitti_closest_vehicle_distance``.

    Args:
        path: The release's ``training`` folder with ``image_2`` and ``label_2``.
        class_names: As ``read_class_names`` takes them, for the four distances from near to none.
        templates: As ``read_templates`` takes them; the names may be whole sentences, with the template "{}".
        images: File with the numbers of the images to take, one a line, such as 000123; by default all.
        split: Which part of the data it is, for reports.

    Raises:
        ValueError: If files are missing or not as the release has them, with the file and line.

    Source: Geiger et al. 2012, "Are we ready for autonomous driving? The KITTI vision benchmark suite"; the distances
    are those of Zhai et al. 2019 (VTAB, arXiv 1910.04867).
    """

    def __init__(
        self,
        path: str | Path,
        class_names: list[str | list[str]] | str | Path,
        templates: list[str] | str | Path,
        images: str | Path | None = None,
        split: str = "test",
    ) -> None:
        path = Path(path)
        listed = read_lines(images) if images else [name[:-4] for name in list_folder(path / "label_2").files]
        self._labels = np.array([_distance(path / "label_2" / f"{image}.txt") for image in listed], dtype=np.int64)
        self.class_names = [one.names for one in read_class_names(class_names)]
        if len(self.class_names) != _NONE + 1:
            raise ValueError(f"class_names has {len(self.class_names)} classes; give one for each of 4 distances")
        self.templates = read_templates(templates)
        self.name, self.split = "kitti_distance", split
        self.source = ImageFiles(path, (f"image_2/{image}.png" for image in listed), self.name)

    def target(self, index: int) -> int:
        """Number of the distance, from near to none."""
        return int(self._labels[index])


def _distance(path: Path) -> int:
    """Number of the distance of the nearest vehicle that an image's labels have."""
    try:
        rows = [line.split() for line in path.read_text("utf-8").splitlines()]
    except OSError as error:
        raise ValueError(f"cannot read the labels {path}: {error.strerror}") from None
    try:
        depths = [float(row[_DEPTH]) for row in rows if row and row[0] in _VEHICLES]
    except (IndexError, ValueError):
        raise ValueError(f"{path} has a vehicle without a distance in column {_DEPTH + 1}; unpack it again") from None
    return int(np.searchsorted(_BOUNDS, min(depths), side="left")) if depths else _NONE
