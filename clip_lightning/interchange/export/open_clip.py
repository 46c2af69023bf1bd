"""Folders of open_clip."""

import json
from pathlib import Path

from safetensors.torch import save_file

from clip_lightning.interchange.export.paper import paper_model
from clip_lightning.interchange.keys import OPENAI, OPENAI_RESNET
from clip_lightning.interchange.open_clip import CONFIG, WEIGHTS
from clip_lightning.interchange.parts import Parts


def write_open_clip(parts: Parts, folder: Path) -> None:
    """Writes what ``open_clip.create_model_and_transforms("local-dir:FOLDER")`` takes.

    Args:
        parts: The model.
        folder: Where the files go; it exists.

    Raises:
        ValueError: If open_clip has no place for the model.
    """
    paper = paper_model(parts, "open_clip")
    pixels, image = parts.model.pixels, paper.image
    channels = image["width"] if paper.is_vit else image["width"] * 32
    vision = {"image_size": image["image_size"], "width": image["width"], "head_width": channels // paper.image_heads}
    if paper.is_vit:
        vision |= {"layers": image["depth"], "patch_size": image["patch_size"], "mlp_ratio": image["mlp_ratio"]}
    else:
        vision |= {"layers": image["blocks"]}
    text = {name: paper.text[name] for name in ("context_length", "vocab_size", "width")}
    text |= {"heads": paper.text_heads, "layers": paper.text["depth"]}
    config = {
        "model_cfg": {
            "embed_dim": parts.model.embed_dim,
            "quick_gelu": paper.quick_gelu,
            "vision_cfg": vision,
            "text_cfg": text,
        },
        "preprocess_cfg": {
            "mean": list(pixels.mean),
            "std": list(pixels.std),
            "interpolation": pixels.interpolation,
            "resize_mode": pixels.resize,
        },
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2), encoding="utf-8")
    layout = OPENAI if paper.is_vit else OPENAI_RESNET
    save_file(layout.to_theirs(parts.model.state_dict()), folder / WEIGHTS, metadata={"format": "pt"})
