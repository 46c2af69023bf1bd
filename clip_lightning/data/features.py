"""What is kept of the images of a labelled data set after one pass over them."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float, Int
from numpy import ndarray as NDArray


@dataclass(frozen=True)
class Features:
    """One row an evaluated image, in the order of the data set.

    Args:
        values: The rows that the scorer keeps.
        index: Index of each row in the data set, ascending, without repetition.
        target: Label of each row.
        missing: Reason for each index that could not be read; it counts as not evaluated.
    """

    values: Float[NDArray, "images channels"]
    index: Int[NDArray, "images"]
    target: NDArray
    missing: Mapping[int, str]
