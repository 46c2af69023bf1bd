"""An image encoder of your own: one class in one file, and nothing to register.

Name it in a configuration, and start the command where ``examples`` lies, so that Python finds it:

    model:
      image_encoder:
        class_path: examples.mixer.Mixer
        init_args: {image_size: 32, patch_size: 8, width: 64, depth: 2}

What loads a checkpoint of it says ``allow_modules=["examples.mixer"]``, since a checkpoint may not choose what runs.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from clip_lightning.models import ImageEncoder


class Mixer(ImageEncoder):
    """MLP-Mixer: MLPs over tokens and over channels in turn, and the mean over tokens.

    Args:
        image_size: Side of the square input, in pixels.
        patch_size: Side of one patch, in pixels; must divide ``image_size``.
        width: Channels of each token, and of the output.
        depth: Number of layers.

    Raises:
        ValueError: If ``patch_size`` does not divide ``image_size``.

    Source: Tolstikhin et al. 2021 (arXiv 2105.01601).
    """

    def __init__(self, image_size: int, patch_size: int, width: int, depth: int) -> None:
        if image_size % patch_size:
            raise ValueError(f"patch_size {patch_size} does not divide image_size {image_size}; change one of them")
        super().__init__(image_size=image_size, output_dim=width)
        tokens = (image_size // patch_size) ** 2
        self.patch_embedding = nn.Conv2d(3, width, patch_size, stride=patch_size)
        self.layers = nn.Sequential(*(MixerLayer(tokens, width) for _ in range(depth)))
        self.output_norm = nn.LayerNorm(width)

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch output_dim"]:
        """Mean over tokens after the last layer."""
        x = self.patch_embedding(image).flatten(2).mT
        return self.output_norm(self.layers(x)).mean(dim=1)

    def blocks(self) -> Sequence[nn.Module]:
        """The layers; optional, for whatever treats depth by layers."""
        return tuple(self.layers)


class MixerLayer(nn.Module):
    """Mixes tokens, then channels, each normalised before and added to its input.

    Args:
        tokens: Number of patches.
        width: Channels of each.
    """

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.token_norm = nn.LayerNorm(width)
        self.token_mlp = _mlp(tokens, hidden=width // 2)
        self.channel_norm = nn.LayerNorm(width)
        self.channel_mlp = _mlp(width, hidden=4 * width)

    def forward(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        """Adds both branches."""
        x = x + self.token_mlp(self.token_norm(x).mT).mT
        return x + self.channel_mlp(self.channel_norm(x))


def _mlp(channels: int, hidden: int) -> nn.Sequential:
    """Two linear layers with a GELU between them."""
    return nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels))
