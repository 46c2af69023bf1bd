"""Encoders that a training fails with, each in one way."""

import torch
from torch import nn

from clip_lightning.models import ImageEncoder


class ConstantEncoder(ImageEncoder):
    """Gives all images nearly the same output."""

    def __init__(self, image_size: int = 16, width: int = 16) -> None:
        super().__init__(image_size=image_size, output_dim=width)
        self.layer = nn.Linear(3 * image_size**2, width)

    def forward(self, image):
        return 1 + 1e-4 * torch.tanh(self.layer(image.flatten(1)))


class DetachedEncoder(ImageEncoder):
    """Has weights that nothing is learned for."""

    def __init__(self, image_size: int = 16, width: int = 16) -> None:
        super().__init__(image_size=image_size, output_dim=width)
        self.layer = nn.Linear(3 * image_size**2, width)

    def forward(self, image):
        return self.layer(image.flatten(1)).detach()
