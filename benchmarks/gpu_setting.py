"""What the benchmark of a GPU measures on: a device, sizes, a model and its pairs, and how time is taken."""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from captions import CAPTION_TOKENS, texts

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # The package need not be installed.

from clip_lightning.batch import Batch
from clip_lightning.models import CLIP, TextTransformer, VisionTransformer, presets


@dataclass(frozen=True)
class Setting:
    """What is measured, and how large.

    Args:
        device: Where.
        small: Whether sizes have no meaning.
        pairs: The global batch.
        micro: Micro-batches.
        tiles: Rows and columns of the loss's tiles.
        images: Of the ResNet's batch.
        repeats: Measurements, of which the median is taken, after one that is not counted.
    """

    device: torch.device
    small: bool
    pairs: int
    micro: tuple[int, ...]
    tiles: tuple[int, ...]
    images: int
    repeats: int

    @property
    def is_cuda(self) -> bool:
        """Whether there is a GPU to wait for."""
        return self.device.type == "cuda"

    def model(self, **image: float) -> CLIP:
        """ViT-B/32, or a toy of its kind; arguments of the image tower make a toy with dropout."""
        torch.manual_seed(0)
        if not self.small and not image:
            return presets.vit_b_32().to(self.device).train()
        size = 32 if self.small else 224
        tower = VisionTransformer(size, patch_size=16, width=64, depth=2, num_heads=1, **image)  # type: ignore[arg-type]
        words = TextTransformer(77, 49408, width=64, depth=2, num_heads=1, dropout=image.get("dropout", 0.0))
        return CLIP(tower, words, embed_dim=64).to(self.device).train()

    def batch(self, pairs: int, side: int) -> Batch:
        """Pairs without meaning on the device, whose captions have the lengths of COCO's and repeat nowhere."""
        lengths = tuple(CAPTION_TOKENS[row % len(CAPTION_TOKENS)] for row in range(pairs))
        text, length = texts(lengths)
        rows = torch.arange(pairs, device=self.device)
        return Batch(
            image=torch.randint(0, 256, (pairs, 3, side, side), dtype=torch.uint8, device=self.device),
            text=text[:, : -(-max(lengths) // 8) * 8].contiguous().to(self.device),
            length=length.to(self.device),
            key=torch.stack([rows] * 3, dim=1),
            image_id=rows,
            text_id=rows,
        )

    @property
    def compiler(self) -> str:
        """What makes code of a graph; nothing does where it is only to be seen that it could."""
        return "eager" if self.small else "inductor"

    def autocast(self) -> Any:
        """The precision of training."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.is_cuda:
            torch.cuda.synchronize()

    def seconds(self, step: Callable[[], object]) -> float:
        """Median time of a call."""
        times = []
        for _ in range(self.repeats + 1):
            self.wait()
            started = time.perf_counter()
            step()
            self.wait()
            times.append(time.perf_counter() - started)
        return statistics.median(times[1:])

    def peak_memory(self) -> str:
        """Most memory that tensors have had since it was last asked for."""
        if not self.is_cuda:
            return "memory not measured"
        peak = torch.cuda.max_memory_allocated() / 2**30
        torch.cuda.reset_peak_memory_stats()
        return f"{peak:.1f} GiB"

    def fastest(self) -> float:
        """Operations a second of a large product of matrices in bf16."""
        size = 256 if self.small else 8192
        left, right = torch.randn(2, size, size, device=self.device, dtype=torch.bfloat16)
        return 2 * size**3 / self.seconds(lambda: left @ right)


def say(line: str) -> None:
    """Prints a line at once."""
    print(line, flush=True)
