"""A batch of image-text pairs: where the data meets the objectives."""

from dataclasses import dataclass, field, fields

import torch
from jaxtyping import Int, UInt8
from torch import Tensor


@dataclass
class Batch:
    """Image-text pairs, ready for the device. Collate cuts the text to its longest, rounded up to 8, and nowhere else.

    Args:
        image: Pixels; the model normalises them on the device (``CLIP.normalize``).
        text: Token ids.
        length: Tokens of each text up to and with its end.
        key: Identity of each sample: source, shard (block) and index.
        image_id: Hash of the stored image, so that repeated images can be recognised.
        text_id: Hash of the caption, so that a repeated caption is no negative.
        views: Further versions that ``Objective.views`` asked for.
    """

    image: UInt8[Tensor, "batch 3 height width"]
    text: Int[Tensor, "batch tokens"]
    length: Int[Tensor, "batch"]
    key: Int[Tensor, "batch 3"]
    image_id: Int[Tensor, "batch"]
    text_id: Int[Tensor, "batch"]
    views: dict[str, "Batch"] = field(default_factory=dict)

    def split(self, size: int) -> list["Batch"]:
        """Its pairs in order, in parts of at most ``size``: as few as there can be, and equal up to one pair.

        A part of a single pair, of which BatchNorm may know no spread, is not left over.
        """
        count = -(-len(self) // size)
        columns = {name: torch.tensor_split(getattr(self, name), count) for name in self._tensors()}
        views = {name: view.split(size) for name, view in self.views.items()}
        return [
            Batch(
                **{name: column[place] for name, column in columns.items()},
                views={name: parts[place] for name, parts in views.items()},
            )
            for place in range(len(columns["image"]))
        ]

    def pin_memory(self) -> "Batch":
        """A copy in page-locked memory, which goes to a GPU while the processor goes on; a DataLoader asks for it."""
        tensors = {name: getattr(self, name).pin_memory() for name in self._tensors()}
        return Batch(**tensors, views={name: view.pin_memory() for name, view in self.views.items()})

    def _tensors(self) -> list[str]:
        """Names of the columns."""
        return [field.name for field in fields(self) if field.name != "views"]

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.image)
