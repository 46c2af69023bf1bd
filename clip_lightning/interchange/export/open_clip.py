"""Folders of open_clip."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from clip_lightning.interchange import timm_tower
from clip_lightning.interchange.export.paper import PaperImage, paper_image, paper_text
from clip_lightning.interchange.keys import OPEN_CLIP_TIMM, OPENAI, OPENAI_RESNET
from clip_lightning.interchange.open_clip import CONFIG, WEIGHTS
from clip_lightning.interchange.parts import Parts
from clip_lightning.models import HFTextEncoder, TimmImageEncoder


def write_open_clip(parts: Parts, folder: Path) -> None:
    """Writes what ``open_clip.create_model_and_transforms("local-dir:FOLDER")`` takes.

    Args:
        parts: The model.
        folder: Where the files go; it exists.

    Raises:
        ValueError: If open_clip has no place for the model.
    """
    if isinstance(parts.model.text_encoder, HFTextEncoder):
        raise ValueError(
            "open_clip looks for a text model of transformers on the hub and in the working directory, never in the "
            "folder of the weights, so it could not load this model's HFTextEncoder offline; safetensors, onnx and "
            "torch_export have a place for it"
        )
    text, pixels = paper_text(parts, "open_clip"), parts.model.pixels
    tensors = dict(parts.model.state_dict())
    if type(parts.model.image_encoder) is TimmImageEncoder:
        layout, tensors = OPEN_CLIP_TIMM, timm_tower.without_bias(tensors)
        vision = timm_tower.describe_timm_tower(parts.model.image_encoder, parts.model._init_args["image_projection"])
        vision |= {"timm_proj_bias": "image_projection.contract.bias" in tensors}
    else:
        image = paper_image(parts, text, "open_clip")
        layout, vision = OPENAI if image.is_vit else OPENAI_RESNET, _vision(image)
    words = {name: text.sizes[name] for name in ("context_length", "vocab_size", "width")}
    words |= {"heads": text.heads, "layers": text.sizes["depth"]}
    config = {
        "model_cfg": {
            "embed_dim": parts.model.embed_dim,
            "quick_gelu": text.quick_gelu,
            "vision_cfg": vision,
            "text_cfg": words,
        },
        "preprocess_cfg": {
            "mean": list(pixels.mean),
            "std": list(pixels.std),
            "interpolation": pixels.interpolation,
            "resize_mode": pixels.resize,
        },
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2), encoding="utf-8")
    save_file(layout.to_theirs(tensors), folder / WEIGHTS, metadata={"format": "pt"})


def _vision(image: PaperImage) -> dict[str, Any]:
    """``vision_cfg`` of one of the paper's towers."""
    sizes = image.sizes
    channels = sizes["width"] if image.is_vit else sizes["width"] * 32
    vision = {"image_size": sizes["image_size"], "width": sizes["width"], "head_width": channels // image.heads}
    if not image.is_vit:
        return vision | {"layers": sizes["blocks"]}
    return vision | {"layers": sizes["depth"], "patch_size": sizes["patch_size"], "mlp_ratio": sizes["mlp_ratio"]}
