"""Where a photograph was taken: where the most similar photograph of many was."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray as NDArray

from clip_lightning.data.located_images import LocatedImages
from clip_lightning.evaluation.base import Context, Evaluator
from clip_lightning.results import Result
from clip_lightning.stats import wilson_interval

KILOMETRES = (1, 25, 200, 750, 2_500)
_EARTH_RADIUS = 6_371.0088
"""Mean radius in kilometres. Source: International Union of Geodesy and Geophysics."""
_CHUNK = 256


class Found(NamedTuple):
    """What ``Geolocation`` collects.

    Args:
        kilometres: Distance of each photograph from the most similar one's place.
        gallery: Number of photographs that were searched.
        missing: Number of photographs that could not be read.
    """

    kilometres: Float[NDArray, "images"]
    gallery: int
    missing: int


class Geolocation(Evaluator):
    """Share of photographs whose nearest neighbour in a gallery was taken within 1, 25, 200, 750 and 2,500 km.

    Args:
        dataset: The photographs.
        gallery: Photographs of other places; their features are searched.
        name: First part of the results' names.

    Source: Hays and Efros 2008, "IM2GPS"; Radford et al. 2021 (arXiv 2103.00020), appendix E.4.
    """

    def __init__(self, dataset: LocatedImages, gallery: LocatedImages, name: str = "geolocation") -> None:
        self.dataset = dataset
        self.gallery = gallery
        self.prefix = f"{name}/{dataset.name}"
        self.reports = [f"{self.prefix}/within_{distance}_km" for distance in KILOMETRES]

    def collect(self, context: Context) -> Found:
        """Finds the nearest neighbour of each photograph."""
        wanted, found = context.images(self.dataset.source), context.images(self.gallery.source)
        nearest = _nearest(wanted.values, found.values)
        kilometres = great_circle(self.dataset.degrees[wanted.index], self.gallery.degrees[found.index[nearest]])
        return Found(kilometres, len(found.index), len(wanted.missing))

    def compute(self, collected: Found) -> list[Result]:
        """The shares, each with a 95 % interval."""
        return [self._share(distance, collected) for distance in KILOMETRES]

    def _share(self, distance: int, collected: Found) -> Result:
        items = (collected.kilometres <= distance).astype(float)
        metric = f"within_{distance}_km"
        return Result(
            name=f"{self.prefix}/{metric}",
            value=float(items.mean()),
            interval=wilson_interval(float(items.sum()), len(items)),
            method="wilson",
            n=len(items),
            missing=collected.missing,
            metric=metric,
            protocol={"gallery": self.gallery.name, "gallery_images": collected.gallery, "distance": "great circle"},
            source=self.dataset.name,
            items=items,
        )


def _nearest(wanted: Float[NDArray, "images channels"], found: Float[NDArray, "gallery channels"]) -> NDArray:
    """Row of the most similar gallery image for each image, by the cosine, some images at a time."""
    unit = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), np.finfo(found.dtype).tiny)
    chunks = [wanted[start : start + _CHUNK] @ unit.T for start in range(0, len(wanted), _CHUNK)]
    return np.concatenate([chunk.argmax(axis=1) for chunk in chunks])


def great_circle(one: Float[NDArray, "places 2"], other: Float[NDArray, "places 2"]) -> Float[NDArray, "places"]:
    """Distance on the Earth as a sphere, in kilometres.

    Args:
        one: Latitude and longitude, in degrees.
        other: Likewise.
    """
    (north, east), (other_north, other_east) = np.radians(one).T, np.radians(other).T
    half = np.sin((north - other_north) / 2) ** 2
    half += np.cos(north) * np.cos(other_north) * np.sin((east - other_east) / 2) ** 2
    return np.asarray(2 * _EARTH_RADIUS * np.arcsin(np.sqrt(half.clip(0, 1))))
