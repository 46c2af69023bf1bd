"""A small two-tower model and batches for it."""

import torch

from clip_lightning.batch import Batch
from clip_lightning.models import CLIP, TextTransformer, VisionTransformer

VOCABULARY, CONTEXT = 20, 8
START, END = VOCABULARY - 2, VOCABULARY - 1


def small_model(dtype=torch.float64, seed=3):
    torch.manual_seed(seed)
    image = VisionTransformer(image_size=8, patch_size=4, width=16, depth=1, num_heads=2)
    text = TextTransformer(context_length=CONTEXT, vocab_size=VOCABULARY, width=16, depth=1, num_heads=2)
    return CLIP(image, text, embed_dim=8).to(dtype)


def small_batch(n, seed=0):
    """Texts of no word, of one, and of more; a word may repeat in a text, and so may images and captions."""
    generator = torch.Generator().manual_seed(seed)
    text = torch.zeros(n, CONTEXT, dtype=torch.int64)
    length = torch.randint(2, CONTEXT + 1, (n,), generator=generator)
    length[0] = 2
    for row, end in zip(text, length.tolist(), strict=True):
        row[0], row[end - 1] = START, END
        row[1 : end - 1] = torch.randint(0, 6, (end - 2,), generator=generator)
    return Batch(
        image=torch.randint(0, 256, (n, 3, 8, 8), dtype=torch.uint8, generator=generator),
        text=text,
        length=length,
        key=torch.arange(3 * n).view(n, 3),
        image_id=torch.arange(n) // 2,
        text_id=torch.tensor([0, 0, *range(2, n)]),
    )
