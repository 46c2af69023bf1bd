"""Texts without meaning, of the lengths that captions of photographs have."""

import torch
from torch import Tensor

CAPTION_TOKENS = (9, 10, 10, 11, 11, 11, 12, 12, 12, 12, 13, 13, 13, 14, 14, 15, 15, 16, 18, 22)
"""Tokens of twenty captions with start and end, spread as those of COCO's validation captions are."""


def texts(lengths: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Random texts of 77 ids as CLIP's tokeniser makes them, and their lengths."""
    generator = torch.Generator().manual_seed(0)
    text = torch.zeros(len(lengths), 77, dtype=torch.long)
    for row, length in zip(text, lengths, strict=True):
        row[0], row[length - 1] = 49406, 49407
        row[1 : length - 1] = torch.randint(1000, 40000, (length - 2,), generator=generator)
    return text, torch.tensor(lengths)
