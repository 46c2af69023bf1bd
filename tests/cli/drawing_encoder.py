"""An encoder that draws from every generator of a process while it trains."""

import random

import numpy as np
import torch
from torch import nn

from clip_lightning.models import ImageEncoder


class DrawingEncoder(ImageEncoder):
    """A linear layer with dropout, scaled by what Python and NumPy draw."""

    def __init__(self, image_size: int = 16, width: int = 64) -> None:
        super().__init__(image_size=image_size, output_dim=width)
        self.layer = nn.Linear(3 * image_size**2, width)

    def forward(self, image):
        if not self.training:
            return self.layer(image.flatten(1))
        scale = 1 + 0.1 * random.random() + 0.1 * np.random.rand()
        return nn.functional.dropout(self.layer(image.flatten(1)), 0.3) * scale + 0.01 * torch.randn(())
