"""The captions that a model finds most like an image."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from clip_lightning.data import Damaged, RawSample, Source, decode
from clip_lightning.models import CLIP
from clip_lightning.objectives.base import Scorer
from clip_lightning.results import Match


@torch.no_grad()
def best_captions(
    model: CLIP,
    scorer: Scorer,
    source: Source,
    transform: Callable[..., Any],
    images: int = 12,
    candidates: int = 128,
    captions: int = 3,
) -> list[Match]:
    """Matches a few images with the captions of many.

    Args:
        model: A trained model, in evaluation mode.
        scorer: How it scores texts, as classes of one prompt each.
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
    pooled = model.pool_image(model.normalize(pixels.to(model.logit_scale.device)))
    rows = pooled if scorer.kind == "pooled" else model.project_image(pooled)
    probability = scorer.classes([[text] for text in texts])(rows).softmax(dim=1)
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
