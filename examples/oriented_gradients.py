"""An image encoder with nothing to learn: oriented gradients and colours, cell by cell.

Where there is one picture of each caption, as with emoji, a network learns what sets these pictures apart, and little
of that holds for another artist's drawings. What was made by hand to compare shapes holds better, and the text tower
learns to speak of it. ``configs/emoji.yaml`` uses it; give it another encoder to compare.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from clip_lightning.models import ImageEncoder


class OrientedGradients(ImageEncoder):
    """Histograms of gradient directions in square cells beside the mean colours of a grid, each standardised.

    Args:
        image_size: Side of the square input, in pixels.
        cell_size: Side of a cell, in pixels; must divide ``image_size``.
        orientations: Directions that are told apart, of 180 degrees.
        colour_grid: Mean colours along each side.
        colour_weight: Length of the colours' part of the output, where that of the gradients is 1.

    Raises:
        ValueError: If ``cell_size`` does not divide ``image_size``.

    Source: Dalal and Triggs 2005, "Histograms of oriented gradients for human detection".
    """

    def __init__(
        self,
        image_size: int,
        cell_size: int = 8,
        orientations: int = 8,
        colour_grid: int = 8,
        colour_weight: float = 0.5,
    ) -> None:
        if image_size % cell_size:
            raise ValueError(f"cell_size {cell_size} does not divide image_size {image_size}; change one of them")
        gradients = orientations * (image_size // cell_size) ** 2
        colours = 3 * colour_grid**2
        super().__init__(image_size=image_size, output_dim=gradients + colours)
        self.cell_size = cell_size
        self.orientations = orientations
        self.colour_grid = colour_grid
        self.colour_weight = colour_weight
        # Mean and standard deviation over the training images are all that training changes here.
        self.gradient_norm = nn.BatchNorm1d(gradients, affine=False)
        self.colour_norm = nn.BatchNorm1d(colours, affine=False)

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch output_dim"]:
        """Both parts side by side."""
        gradients = self.gradient_norm(self._histograms(image))
        colours = self.colour_norm(F.adaptive_avg_pool2d(image, self.colour_grid).flatten(1))
        return torch.cat([F.normalize(gradients), self.colour_weight * F.normalize(colours)], dim=1)

    def _histograms(self, image: Tensor) -> Tensor:
        """How much of each direction there is in each cell, over the length of the whole."""
        horizontal = F.pad(image[..., 2:] - image[..., :-2], (1, 1))
        vertical = F.pad(image[..., 2:, :] - image[..., :-2, :], (0, 0, 1, 1))
        # Of the three channels the one with the strongest gradient speaks for a pixel.
        strength, channel = (horizontal**2 + vertical**2).max(dim=1, keepdim=True)
        angle = torch.atan2(vertical.gather(1, channel), horizontal.gather(1, channel))
        position = angle % math.pi * (self.orientations / math.pi)
        bins = torch.arange(self.orientations, device=image.device).view(1, -1, 1, 1)
        distance = (position - bins).abs()
        distance = torch.minimum(distance, self.orientations - distance)
        votes = strength.clamp_min(1e-8).sqrt() * (1 - distance).clamp_min(0)
        # The root keeps one hard edge from outweighing all else (Arandjelovic and Zisserman 2012).
        cells = F.avg_pool2d(votes, self.cell_size).clamp_min(1e-6).sqrt()
        return F.normalize(cells.flatten(1))
