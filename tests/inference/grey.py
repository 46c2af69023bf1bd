"""Images that are as grey as their index says, and a model that says how grey they are."""

import numpy as np
import torch

from clip_lightning.data.base import Damaged, RawSample, Source
from clip_lightning.data.transforms import CenterCrop
from clip_lightning.inference.features import ImagePass
from clip_lightning.models import CLIP, ImageEncoder, Pixels

CROP = CenterCrop(size=4)


class Grey(Source):
    """Image i has the grey level i; some are damaged."""

    def __init__(self, number, damaged=()):
        self.name, self._number, self._damaged = "grey", number, damaged

    fingerprint = property(lambda self: f"grey {self._number} {self._damaged}")
    block_sizes = property(lambda self: [self._number])

    def read(self, index):
        if index in self._damaged:
            raise Damaged("torn")
        return RawSample(np.full((4, 4, 3), index, np.uint8), ("grey",))

    def captions(self):
        return iter(["grey"] * self._number)


class Mean(ImageEncoder):
    """Returns the grey level, 0-255, and one; it remembers the levels that it saw."""

    def __init__(self, image_size=4, output_dim=2):
        super().__init__(image_size=image_size, output_dim=output_dim, pixels=Pixels(4, (0.0,) * 3, (1 / 255,) * 3))
        self.encoded = []

    def forward(self, image):
        level = image.mean(dim=(1, 2, 3))
        self.encoded += level.round().int().tolist()
        return torch.stack([level, torch.ones_like(level)], dim=1)


def clip():
    torch.manual_seed(0)
    return CLIP(Mean(), None, embed_dim=3)


def how(model, batch_size=4, num_workers=0):
    return ImagePass(model, CROP, batch_size, num_workers)
