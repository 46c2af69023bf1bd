"""A trained model with its tokeniser, its image transform and its scorer, from one file, folder or name."""

import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from clip_lightning.data import CenterCrop, decode
from clip_lightning.interchange.parts import read_parts
from clip_lightning.models import CLIP
from clip_lightning.objectives import Scorer
from clip_lightning.text import Tokenizer

ImageLike = str | Path | bytes | np.ndarray | Image.Image


class Pretrained(NamedTuple):
    """What belongs together.

    Args:
        model: The model, in evaluation mode.
        tokenizer: Texts to token ids; where a model has no text tower, it says so when it is called.
        transform: An image (a path, an encoded file, pixels or a PIL image) to the uint8 square that
            ``model.normalize`` takes.
        scorer: How the model scores classes, given what it was trained for.
        card: Where it comes from, as plain data: "path", "format", and the run's "config", None if no command line
            built it.
    """

    model: CLIP
    tokenizer: Tokenizer
    transform: Callable[[ImageLike], UInt8[Tensor, "3 size size"]]
    scorer: Scorer
    card: dict[str, Any]


def load(
    path: str | Path,
    *,
    allow_modules: Collection[str] = (),
    image_size: int | None = None,
    context_length: int | None = None,
    quick_gelu: bool | None = None,
    weights: Literal["raw", "averaged"] | None = None,
) -> Pretrained:
    """Loads a model, recognised by what its files hold. Nothing of them is unpickled freely or run.

    Args:
        path: A checkpoint of a run, such as ``runs/NAME/TIME/checkpoints/best.ckpt``; a file of OpenAI or open_clip; a
            folder of open_clip or transformers; what ``export --to safetensors`` wrote; ``hf-hub:OWNER/NAME``; or
            ``timm:NAME`` for an image tower alone.
        allow_modules: Modules beside the installed packages whose classes a checkpoint of this package may name.
        image_size: Side of the images, in pixels, for which position embeddings are interpolated; the model's own by
            default.
        context_length: Longest text, in tokens, likewise.
        quick_gelu: Whether the activation is ``QuickGELU``: for files that do not say it, and only for them.
        weights: Of a run that averaged its weights, which ones; those that ``checkpoints.monitor`` named by default.

    Returns:
        The model and what belongs to it, on the CPU.

    Raises:
        ValueError: If the file is missing, damaged, holds code, names a class that it may not, does not fit, does not
            say which activation its weights were trained with, or has no such weights.

    Example:
        >>> model, tokenizer, transform, *_ = load("runs/quickstart/TIME/checkpoints/best.ckpt")  # doctest: +SKIP
        >>> image = model.encode_image(model.normalize(transform("cat.jpg")[None]))  # doctest: +SKIP
        >>> text = model.encode_text(tokenizer(["a photo of a cat", "a photo of a dog"]))  # doctest: +SKIP
        >>> torch.nn.functional.cosine_similarity(image, text)  # doctest: +SKIP
    """
    parts = read_parts(
        path,
        allow_modules=allow_modules,
        image_size=image_size,
        context_length=context_length,
        quick_gelu=quick_gelu,
        weights=weights,
    )
    if parts.said:
        warnings.warn(f"{path}: {'; '.join(parts.said)}", stacklevel=2)
    crop = CenterCrop.of(parts.model.pixels)
    return Pretrained(
        parts.model,
        parts.tokenizer,
        lambda image: crop(decode(_readable(image))),
        parts.objective.scorer(parts.model, parts.tokenizer),
        parts.card,
    )


def _readable(image: ImageLike) -> bytes | np.ndarray | Image.Image:
    """An image as ``decode`` takes it.

    Raises:
        ValueError: If it is a tensor, which may have its channels first or last.
    """
    if isinstance(image, Tensor):
        raise ValueError(
            "transform takes pixels as uint8 [height, width, 3] of numpy, and no tensor; give image.numpy()"
        )
    return Path(image).read_bytes() if isinstance(image, str | Path) else image
