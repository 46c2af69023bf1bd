"""What is kept of the images of a source after one pass over them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float, Int
from numpy import ndarray as NDArray

Stage = Literal["pooled", "features"]
"""Where in the model a row is taken: what the image encoder returns, or that projected into the shared space, where it
is not of unit length yet. The paper's probes of Vision Transformers are of the former (section 3.2)."""


@dataclass(frozen=True)
class Features:
    """One row an evaluated image, in the order of the source.

    Args:
        values: The rows.
        index: Index of each row in the source, ascending, without repetition.
        missing: Reason for each index that could not be read; it counts as not evaluated.
    """

    values: Float[NDArray, "images channels"]
    index: Int[NDArray, "images"]
    missing: Mapping[int, str]
