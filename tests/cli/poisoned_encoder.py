"""An encoder with BatchNorm whose output is not finite in the training batches that a test names."""

import torch
import torch.distributed as dist
from torch import nn

from clip_lightning.models import ImageEncoder


class PoisonedEncoder(ImageEncoder):
    """A linear layer and BatchNorm, of which batches first to last, counted from 1, see an infinite pixel.

    The count is a weight like any other, so that a continued run goes on with it.
    """

    def __init__(self, image_size: int = 16, width: int = 32, first: int = 3, last: int = 4, rank: int = 0) -> None:
        super().__init__(image_size=image_size, output_dim=width)
        self.layer = nn.Linear(3 * image_size**2, width)
        self.norm = nn.BatchNorm1d(width)
        self.first, self.last, self.rank = first, last, rank
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, image):
        rows = image.flatten(1)
        if self.training:
            self.calls += 1
            here = dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
            if self.first <= int(self.calls) <= self.last and here == self.rank:
                rows = rows + torch.zeros_like(rows).index_fill_(0, torch.tensor(0), float("inf"))
        return self.norm(self.layer(rows))
