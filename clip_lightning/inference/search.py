"""The images of a feature folder that are nearest to a query."""

import bisect
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray as NDArray

from clip_lightning.files import part_of, replacing
from clip_lightning.inference.feature_folder import FeatureFolder

EXACT_UP_TO = 100_000
"""Images up to which every one is compared: about 10 ms a query at 512 channels. Beyond, a graph is walked (HNSW)."""

# Source: Malkov & Yashunin 2016 (arXiv 1603.09320), sections 4.1 and 5: 32 links suit a high dimension, and a wider
# search finds more for more time.
_LINKS, _BUILD_WIDTH, _SEARCH_WIDTH = 32, 200, 128


@dataclass(frozen=True)
class Hit:
    """An image that was found.

    Args:
        similarity: Cosine of the angle between query and image, -1 to 1.
        index: Its place among all images.
        path: The file that holds it: its own, or a shard.
        key: Its name within the folder or shard.
    """

    similarity: float
    index: int
    path: str
    key: str


class FeatureIndex:
    """The nearest-neighbour index of a feature folder, kept beside the features and built anew when they change.

    Up to ``exact_up_to`` images it compares the query with each, beyond that it is approximate.

    Args:
        folder: Complete features.
        exact_up_to: Images up to which it is exact.

    Attributes:
        is_exact: Whether every image is compared.
        was_built: Whether it had to be built.

    Raises:
        ValueError: If parts are missing, no image could be read, or faiss is not installed.
    """

    def __init__(self, folder: FeatureFolder, exact_up_to: int = EXACT_UP_TO) -> None:
        folder.complete()
        self._folder = folder
        self._ends = list(itertools.accumulate(folder.rows_of_parts()))
        if not self._ends[-1]:
            raise ValueError(f"{folder.path} has no features: none of its {folder.description.count:,} images was read")
        self.is_exact = self._ends[-1] <= exact_up_to
        kind = "exact" if self.is_exact else "hnsw"
        path = folder.path / f"search-{kind}-{folder.digest()[:16]}.faiss"
        self.was_built = not path.is_file()
        if self.was_built:
            _build(folder, self.is_exact, path)
        self._index = _faiss().read_index(str(path))

    def nearest(self, embed: Float[NDArray, "channels"], top: int = 10) -> list[Hit]:
        """The images most like a query, the most similar first.

        Args:
            embed: The query's features in the space of the images', of any length.
            top: How many images; fewer if there are fewer.
        """
        query = _unit(np.asarray(embed, dtype=np.float32)[None])
        options: dict[str, Any] = {}
        if not self.is_exact:
            options["params"] = _faiss().SearchParametersHNSW(efSearch=max(_SEARCH_WIDTH, 2 * top))
        similarities, rows = self._index.search(query, min(top, self._ends[-1]), **options)
        found = zip(similarities[0].tolist(), rows[0].tolist(), strict=True)
        # An approximate search that finds fewer fills up with -1. Ties are in the order of the images.
        return [self._hit(*pair) for pair in sorted(found, key=lambda pair: (-pair[0], pair[1])) if pair[1] >= 0]

    def _hit(self, similarity: float, row: int) -> Hit:
        """What is known of the image of a row."""
        import pyarrow.compute as pc

        part = bisect.bisect_right(self._ends, row)
        table = self._folder.table(part)
        own = table.filter(pc.equal(table["row"], row - (self._ends[part - 1] if part else 0))).to_pylist()[0]
        return Hit(similarity, own["index"], own["path"], own["key"])


def _build(folder: FeatureFolder, is_exact: bool, path: Path) -> None:
    """Builds the index of the features as they are now, and removes those of what they were."""
    faiss = _faiss()
    width = folder.description.embed_dim
    if is_exact:
        index = faiss.IndexFlatIP(width)
    else:
        index = faiss.IndexHNSWFlat(width, _LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _BUILD_WIDTH
    for part in folder.description.parts:
        index.add(_unit(folder.features(part)))
    for old in folder.path.glob("search-*.faiss"):
        old.unlink(missing_ok=True)
    with replacing(path, part_of(path)) as file:
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))


def _unit(rows: Float[NDArray, "images channels"]) -> Float[NDArray, "images channels"]:
    """Rows of unit length, of which inner products are cosines."""
    return np.ascontiguousarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise ValueError(
            "searching needs faiss, which is not installed: pip install 'clip-lightning[search]'"
        ) from None
    return faiss
