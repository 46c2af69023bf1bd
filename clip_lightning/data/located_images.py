"""Images with the place on Earth where they were taken."""

import array
from pathlib import Path
from typing import Any

import numpy as np

from clip_lightning.data.conditions import cell, select
from clip_lightning.data.folder_files import folder_name
from clip_lightning.data.image_files import ImageFiles
from clip_lightning.data.manifest import image_name
from clip_lightning.data.tables import open_table
from clip_lightning.spec import HasSpec


class LocatedImages(HasSpec):
    """Images that a table lists with latitude and longitude: JSON lines, CSV, TSV or Parquet.

    Args:
        path: The table.
        image_column: Column with the path of the image.
        latitude_column: Column with degrees north, -90 to 90.
        longitude_column: Column with degrees east, -180 to 180.
        root: Folder that image paths are relative to; by default the table's.
        name: Short name, part of a metric's key; by default the name of the table's folder.

    Attributes:
        source: The images.
        degrees: Latitude and longitude of each [images, 2].

    Raises:
        ValueError: If the table is missing, or a row has no image or no such place, with the line.
    """

    def __init__(
        self,
        path: str | Path,
        image_column: str = "image",
        latitude_column: str = "latitude",
        longitude_column: str = "longitude",
        root: str | Path | None = None,
        name: str | None = None,
    ) -> None:
        path = Path(path)
        table = open_table(path, [image_column, latitude_column, longitude_column])
        images: list[str] = []
        degrees = array.array("d")
        for place, _, row in select(table):
            images.append(image_name(row, image_column, place))
            degrees.append(_degrees(cell(row, latitude_column, place), 90, f"{place}: {latitude_column}"))
            degrees.append(_degrees(cell(row, longitude_column, place), 180, f"{place}: {longitude_column}"))
        self.degrees = np.array(degrees).reshape(-1, 2)
        self.name = name or folder_name(path.parent)
        self.source = ImageFiles(path.parent if root is None else Path(root), images, self.name)


def _degrees(value: Any, limit: float, place: str) -> float:
    try:
        degrees = float(value)
    except (TypeError, ValueError):
        degrees = np.nan
    if not abs(degrees) <= limit:
        raise ValueError(f"{place} is {value!r}; it must be degrees from -{limit} to {limit}")
    return degrees
