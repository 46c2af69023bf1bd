"""CLIP from Python without Lightning: a loop of your own around the parts, in a few seconds on one core.

    python -m examples.without_lightning

The model learns from drawings of coloured shapes with captions, and then tells their classes apart by the names alone,
among them pairs of colour and shape that it never saw. Any other source takes the place of ``ShapeScenes``, such as
``Manifest("captions.csv")``, any other labelled set that of ``ShapeScenesLabels``, and any encoder that of the ResNet.
"""

import torch
from torch.nn.functional import normalize

from clip_lightning.data import (
    CenterCrop,
    LabelledDataset,
    PairLoader,
    RandomSquareCrop,
    ShapeScenes,
    ShapeScenesLabels,
    labelled_images,
)
from clip_lightning.inference import zero_shot_classifier
from clip_lightning.models import CLIP, ModifiedResNet, TextTransformer
from clip_lightning.objectives import Contrastive
from clip_lightning.text import BPETokenizer, Tokenizer


def train(steps: int = 200) -> tuple[CLIP, Tokenizer, list[float]]:
    """Trains a small CLIP.

    Args:
        steps: Optimiser steps, of 64 pairs each.

    Returns:
        The model, its tokeniser, and the loss of each step.
    """
    torch.manual_seed(0)
    pairs = ShapeScenes("train", size=4096)
    tokenizer = BPETokenizer(vocab_size=512, context_length=32, corpus=pairs)
    image_encoder = ModifiedResNet(image_size=32, blocks=[1, 1], width=16, output_dim=48, num_heads=4)
    text_sizes = {"vocab_size": tokenizer.vocab_size, "context_length": tokenizer.context_length}
    text_encoder = TextTransformer(**text_sizes, width=48, depth=1, num_heads=2)
    model = CLIP(image_encoder, text_encoder, embed_dim=48, image_projection=False)
    objective = Contrastive()
    objective.setup(model)
    loader = PairLoader([pairs], tokenizer=tokenizer, transform=RandomSquareCrop(32), batch_size=64)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps)
    losses: list[float] = []
    while len(losses) < steps:
        # An epoch with each iteration; loader.state_dict() would go into a checkpoint.
        for batch in loader:
            loss = objective.reduce(model, objective.encode(model, batch))["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            model.cap_logit_scale_()
            losses.append(loss.item())
            if len(losses) == steps:
                break
    return model.eval(), tokenizer, losses


@torch.no_grad()
def accuracy(model: CLIP, tokenizer: Tokenizer, dataset: LabelledDataset) -> float:
    """Share of the images whose class is the one of the most similar class name, 0-1."""
    classes = zero_shot_classifier(model, tokenizer, dataset.class_names, dataset.templates)
    hits = 0
    for batch in labelled_images(dataset, range(len(dataset)), CenterCrop.of(model.pixels), batch_size=100):
        image_embeds = normalize(model.encode_image(model.normalize(batch.image)), dim=1)
        preds = (image_embeds @ classes.T).argmax(dim=1).tolist()
        hits += sum(pred == dataset.target(index) for pred, index in zip(preds, batch.indices.tolist(), strict=True))
    return hits / len(dataset)


if __name__ == "__main__":
    model, tokenizer, losses = train()
    print(f"loss {losses[0]:.2f} to {losses[-1]:.2f} in {len(losses)} steps")
    for split in ("test", "heldout"):
        dataset = ShapeScenesLabels(split)
        found = accuracy(model, tokenizer, dataset)
        print(f"{dataset.name}: {found:.1%} right of {len(dataset.class_names)} classes")
