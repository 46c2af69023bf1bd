"""A model with random weights in a checkpoint, and photographs with damaged files among them."""

import numpy as np
import torch
from PIL import Image

from clip_lightning.checkpoint import write_checkpoint, write_description
from clip_lightning.data import ShapeScenes
from clip_lightning.models import TextTransformer, VisionTransformer
from clip_lightning.task import CLIPTask
from clip_lightning.text import BPETokenizer


def write_model(path, seed=0, width=16):
    """Writes a tiny model's checkpoint."""
    torch.manual_seed(seed)
    tokenizer = BPETokenizer(vocab_size=300, context_length=24, corpus=ShapeScenes(size=32))
    task = CLIPTask(
        VisionTransformer(image_size=32, patch_size=16, width=width, depth=1, num_heads=2),
        TextTransformer(context_length=24, vocab_size=300, width=width, depth=1, num_heads=2),
        tokenizer,
        embed_dim=8,
    )
    checkpoint = {"state_dict": task.state_dict()}
    write_description(checkpoint, task, None)
    write_checkpoint(checkpoint, path)
    return path


def draw(path, seed):
    """Writes an image of noise; the formats and sizes vary."""
    generator = np.random.default_rng(seed)
    size = generator.integers(20, 60, size=2)
    pixels = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_images(folder, number=11):
    """Writes images, the last half of them in a subfolder, and beside them a torn, an empty and a text file.

    Returns:
        Keys of the images that can be read, in order.
    """
    names = [f"{index:02}.{'png' if index % 2 else 'jpg'}" for index in range(number)]
    keys = [name if index < number / 2 else f"sub/{name}" for index, name in enumerate(names)]
    for seed, key in enumerate(keys):
        draw(folder / key, seed)
    content = (folder / keys[0]).read_bytes()
    (folder / "05-torn.jpg").write_bytes(content[: len(content) // 3])
    (folder / "sub" / "empty.png").write_bytes(b"")
    (folder / "notes.txt").write_text("no image")
    return keys


def write_weights_alone(path):
    """Writes a tiny model of open_clip as a file of tensors, which does not say its activation."""
    import open_clip  # costs seconds, and few tests need it

    torch.manual_seed(0)
    vision = {"image_size": 32, "patch_size": 16, "width": 64, "layers": 1}
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
    torch.save(open_clip.CLIP(8, vision, text).state_dict(), path)
    return path
