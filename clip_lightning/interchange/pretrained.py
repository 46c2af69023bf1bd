"""A trained model with its tokeniser, its image transform and its scorer, from one file."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torch.optim import Optimizer

from clip_lightning.checkpoint import KEY, build_described, load_weights, read_checkpoint
from clip_lightning.data import CenterCrop, decode
from clip_lightning.models import CLIP
from clip_lightning.objectives import Contrastive, Objective, Scorer
from clip_lightning.spec import build
from clip_lightning.text import Tokenizer

ImageLike = str | Path | bytes | np.ndarray | Image.Image


class Pretrained(NamedTuple):
    """What belongs together.

    Args:
        model: The model, in evaluation mode.
        tokenizer: Texts to token ids.
        transform: An image (a path, an encoded file, pixels or a PIL image) to the uint8 square that
            ``model.normalize`` takes.
        scorer: How the model scores classes, given what it was trained for.
        card: Where it comes from, as plain data: "path" and the run's "config", None if no command line built it.
    """

    model: CLIP
    tokenizer: Tokenizer
    transform: Callable[[ImageLike], UInt8[Tensor, "3 size size"]]
    scorer: Scorer
    card: dict[str, Any]


def load(path: str | Path, *, allow_modules: Collection[str] = ()) -> Pretrained:
    """Loads a checkpoint of a run. Nothing of the file is unpickled, and nothing beside it is needed.

    Args:
        path: The file, such as ``runs/NAME/TIME/checkpoints/best.ckpt``.
        allow_modules: Modules beside the installed packages whose classes the checkpoint may name.

    Returns:
        The model and what belongs to it, on the CPU.

    Raises:
        ValueError: If the file is missing, damaged, holds code, names a class that it may not, or does not fit.

    Example:
        >>> model, tokenizer, transform, *_ = load("runs/quickstart/TIME/checkpoints/best.ckpt")  # doctest: +SKIP
        >>> image = model.encode_image(model.normalize(transform("cat.jpg")[None]))  # doctest: +SKIP
        >>> text = model.encode_text(tokenizer(["a photo of a cat", "a photo of a dog"]))  # doctest: +SKIP
        >>> torch.nn.functional.cosine_similarity(image, text)  # doctest: +SKIP
    """
    checkpoint = read_checkpoint(path)
    model, tokenizer, objective = build_described(checkpoint, path, lambda spec: _parts(spec, allow_modules))
    objective.setup(model)
    trained = torch.nn.ModuleDict({"model": model, "objective": objective}).eval()
    load_weights(trained, checkpoint, path)
    crop = CenterCrop.of(model.pixels)
    return Pretrained(
        model,
        tokenizer,
        lambda image: crop(decode(_readable(image))),
        objective.scorer(model, tokenizer),
        {"path": str(path), "config": checkpoint[KEY]["config"]},
    )


def _readable(image: ImageLike) -> bytes | np.ndarray | Image.Image:
    """An image as ``decode`` takes it."""
    return Path(image).read_bytes() if isinstance(image, str | Path) else image


def _parts(spec: Any, allow_modules: Collection[str]) -> tuple[CLIP, Tokenizer, Objective]:
    """What of a task's description belongs to the model; the task itself would need Lightning."""
    parts = build(spec["init_args"], allow_modules=allow_modules, partial=(Optimizer,))
    shape = {name: parts[name] for name in ("image_encoder", "text_encoder", "embed_dim", "image_projection")}
    return CLIP(**shape), parts["tokenizer"], parts["objective"] or Contrastive()
