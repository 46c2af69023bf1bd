"""Folders of the transformers library's ``CLIPModel``."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from clip_lightning.interchange.export.paper import PaperImage, PaperText, paper_image, paper_text
from clip_lightning.interchange.export.tokenizer_files import write_clip_tokenizer, write_tokenizer
from clip_lightning.interchange.hugging_face import CONFIG, PREPROCESSOR
from clip_lightning.interchange.keys import TRANSFORMERS
from clip_lightning.interchange.parts import Parts
from clip_lightning.models import Pixels


def write_transformers(parts: Parts, folder: Path) -> None:
    """Writes what ``transformers.CLIPModel.from_pretrained(FOLDER)`` and ``CLIPProcessor`` take.

    Args:
        parts: The model.
        folder: Where the files go; it exists.

    Raises:
        ValueError: If transformers has no place for the model.
    """
    text = paper_text(parts, "transformers")
    image = paper_image(parts, text, "transformers")
    if not image.is_vit:
        raise ValueError(
            "transformers' CLIPModel has no place for a ResNet; open_clip, safetensors, onnx and torch_export have"
        )
    config = _config(parts, image, text)
    (folder / CONFIG).write_text(json.dumps(config, indent=2), encoding="utf-8")
    write_image_processor(parts.model.pixels, folder)
    write_clip_tokenizer(text.tokenizer, folder)
    write_tokenizer(text.tokenizer, folder)
    tensors = TRANSFORMERS.to_theirs(parts.model.state_dict())
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _config(parts: Parts, image: PaperImage, text: PaperText) -> dict[str, Any]:
    """What ``CLIPConfig`` is to know."""
    shared = {"hidden_act": "quick_gelu" if text.quick_gelu else "gelu", "layer_norm_eps": 1e-5}
    shared |= {"projection_dim": parts.model.embed_dim}
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": parts.model.embed_dim,
        "dtype": "float32",
        "text_config": {
            **shared,
            "model_type": "clip_text_model",
            "vocab_size": text.sizes["vocab_size"],
            "max_position_embeddings": text.sizes["context_length"],
            "hidden_size": text.sizes["width"],
            "intermediate_size": 4 * text.sizes["width"],
            "num_hidden_layers": text.sizes["depth"],
            "num_attention_heads": text.heads,
            "bos_token_id": text.tokenizer.sos_id,
            "eos_token_id": text.tokenizer.eos_id,
            "pad_token_id": text.tokenizer.eos_id,
        },
        "vision_config": {
            **shared,
            "model_type": "clip_vision_model",
            "image_size": image.sizes["image_size"],
            "patch_size": image.sizes["patch_size"],
            "hidden_size": image.sizes["width"],
            "intermediate_size": int(image.sizes["mlp_ratio"] * image.sizes["width"]),
            "num_hidden_layers": image.sizes["depth"],
            "num_attention_heads": image.heads,
        },
    }


def write_image_processor(pixels: Pixels, folder: Path) -> None:
    """Writes what is done to an image, as transformers' image processors read it.

    Args:
        pixels: What the model expects.
        folder: Where the file goes.
    """
    square = {"height": pixels.size, "width": pixels.size}
    crops = pixels.resize == "shortest"
    content = {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": pixels.size} if crops else square,
        "resample": 3 if pixels.interpolation == "bicubic" else 2,
        "do_center_crop": crops,
        "crop_size": square,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(pixels.mean),
        "image_std": list(pixels.std),
    }
    (folder / PREPROCESSOR).write_text(json.dumps(content, indent=2), encoding="utf-8")
