"""The captions that a model finds most like an image."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from clip_lightning.data import Damaged, RawSample, Source, decode
from clip_lightning.models import CLIP
from clip_lightning.results import Match
from clip_lightning.text import Tokenizer, text_lengths


@torch.no_grad()
def best_captions(
    model: CLIP,
    tokenizer: Tokenizer,
    source: Source,
    transform: Callable[..., Any],
    images: int = 12,
    candidates: int = 128,
    captions: int = 3,
) -> list[Match]:
    """Matches a few images with the captions of many.

    Args:
        model: A trained model, in evaluation mode.
        tokenizer: The model's tokeniser.
        source: Pairs that were not trained on.
        transform: Makes a fixed-size uint8 image of a stored one.
        images: How many images to match, spread evenly over the source.
        candidates: From how many samples, spread evenly, the candidate captions come; the images' are among them.
        captions: How many captions to keep for each image.

    Returns:
        One match an image; damaged samples are passed over.
    """
    samples = _readable(source, candidates)
    texts = list(dict.fromkeys(sample.captions[0] for sample in samples))
    chosen = samples[:: max(1, len(samples) // images)][:images]
    pixels = torch.stack([transform(decode(sample.image)) for sample in chosen])
    device = model.logit_scale.device
    image_embeds = F.normalize(model.encode_image(model.normalize(pixels.to(device))), dim=1)
    text = tokenizer(texts).to(device)
    text_embeds = F.normalize(model.encode_text(text, text_lengths(text, tokenizer.eos_id)), dim=1)
    probability = (model.logit_scale.exp() * image_embeds @ text_embeds.T).softmax(dim=1)
    best = probability.topk(min(captions, len(texts)), dim=1)
    return [
        Match(
            image=image.permute(1, 2, 0).numpy(),
            captions=[texts[place] for place in places],
            scores=scores,
            correct=[texts[place] in sample.captions for place in places],
        )
        for image, sample, places, scores in zip(
            pixels, chosen, best.indices.tolist(), best.values.tolist(), strict=True
        )
    ]


def _readable(source: Source, count: int) -> list[RawSample]:
    samples = []
    for index in np.unique(np.linspace(0, len(source) - 1, count).astype(int)).tolist():
        try:
            samples.append(source.read(index))
            decode(samples[-1].image)
        except Damaged:
            continue
    return samples
