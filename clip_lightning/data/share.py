"""A share of the images, where nothing in the data says which are held out."""

import hashlib
import os
from collections.abc import Sequence

_BYTES = 6


class Share:
    """The images whose place between 0 and 1 lies within bounds.

    The place is a hash of the image's path, so it is the same in each source, whatever else a source holds: what one
    trains on with ``[0, 0.9]`` and another evaluates with ``[0.9, 1]`` have no image in common, and stay so when images
    are added. As with any hash, the sizes are near to the shares and not exactly these.

    Args:
        bounds: Lower and upper bound; the upper is not taken.

    Raises:
        ValueError: If they are no two numbers with 0 <= lower < upper <= 1.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        if len(bounds) != 2 or not 0 <= bounds[0] < bounds[1] <= 1:
            raise ValueError(f"share is {list(bounds)}; give a lower and an upper bound from 0 to 1, as in [0, 0.9]")
        self.bounds = [float(bounds[0]), float(bounds[1])]
        self._is_all = self.bounds == [0.0, 1.0]

    def __str__(self) -> str:
        """For messages."""
        return f"the share {self.bounds}"

    def __contains__(self, path: str) -> bool:
        """Whether an image is taken, by its path as the source has it, relative to its root."""
        if self._is_all:
            return True
        place: float = int.from_bytes(hashlib.blake2b(os.fsencode(path), digest_size=_BYTES).digest()) / 256**_BYTES
        low, high = self.bounds
        return low <= place < high
