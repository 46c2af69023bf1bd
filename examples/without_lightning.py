"""CLIP from Python without Lightning: a loop of your own around the parts, in a few seconds on one core.

    python -m examples.without_lightning
    python -m examples.without_lightning PHOTOGRAPHS

The model learns from drawings of coloured shapes with captions, and then tells their classes apart by the names alone,
among them pairs of colour and shape that it never saw. With a folder that has a folder of photographs for each class,
it learns from nine tenths of these, with an image encoder of one's own, and tells the classes of the others apart.
"""

import sys

import torch
from torch.nn.functional import normalize

from clip_lightning.data import (
    CenterCrop,
    ClassFolders,
    LabelledDataset,
    LabelledFolders,
    PairLoader,
    RandomSquareCrop,
    ShapeScenes,
    ShapeScenesLabels,
    Source,
    images_of,
)
from clip_lightning.inference import zero_shot_classifier
from clip_lightning.models import CLIP, ImageEncoder, ModifiedResNet, TextTransformer
from clip_lightning.objectives import Contrastive
from clip_lightning.text import BPETokenizer, Tokenizer
from examples.mixer import Mixer


def train(pairs: Source, image_encoder: ImageEncoder, steps: int = 200) -> tuple[CLIP, Tokenizer, list[float]]:
    """Trains a small CLIP.

    Args:
        pairs: Images with captions.
        image_encoder: The image tower; its output is projected into a shared space of 48 dimensions.
        steps: Optimiser steps, of 64 pairs each.

    Returns:
        The model, its tokeniser, and the loss of each step.
    """
    tokenizer = BPETokenizer(vocab_size=512, context_length=32, corpus=pairs)
    text_sizes = {"vocab_size": tokenizer.vocab_size, "context_length": tokenizer.context_length}
    text_encoder = TextTransformer(**text_sizes, width=48, depth=1, num_heads=2)
    model = CLIP(image_encoder, text_encoder, embed_dim=48)
    objective = Contrastive()
    objective.setup(model)
    loader = PairLoader(
        [pairs], tokenizer=tokenizer, transform=RandomSquareCrop(image_encoder.image_size), batch_size=64
    )
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
    for batch in images_of(dataset.source, range(len(dataset)), CenterCrop.of(model.pixels), batch_size=100):
        image_embeds = normalize(model.encode_image(model.normalize(batch.image)), dim=1)
        preds = (image_embeds @ classes.T).argmax(dim=1).tolist()
        hits += sum(pred == dataset.target(index) for pred, index in zip(preds, batch.indices.tolist(), strict=True))
    return hits / len(dataset)


def main(folders: list[str]) -> None:
    """Trains on the scenes, or on a folder of photographs, and prints what the model can do."""
    torch.manual_seed(0)
    datasets: list[LabelledDataset]
    if folders:
        templates = ["a photo of {}"]
        pairs: Source = ClassFolders(folders[0], templates, share=(0.0, 0.9))
        datasets = [LabelledFolders(folders[0], templates, share=(0.9, 1.0))]
        image_encoder: ImageEncoder = Mixer(image_size=64, patch_size=8, width=96, depth=3)
    else:
        pairs = ShapeScenes("train", size=4096)
        datasets = [ShapeScenesLabels("test"), ShapeScenesLabels("heldout")]
        image_encoder = ModifiedResNet(image_size=32, blocks=[1, 1], width=16, output_dim=48, num_heads=4)
    model, tokenizer, losses = train(pairs, image_encoder)
    print(f"loss {losses[0]:.2f} to {losses[-1]:.2f} in {len(losses)} steps")
    for dataset in datasets:
        found = accuracy(model, tokenizer, dataset)
        print(f"{dataset.name}: {found:.1%} right of {len(dataset.class_names)} classes")


if __name__ == "__main__":
    main(sys.argv[1:])
