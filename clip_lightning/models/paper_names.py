"""The paper's nine models by their names."""

from collections.abc import Callable, Mapping

import torch

from clip_lightning.models import presets
from clip_lightning.models.clip import CLIP

PAPER: Mapping[str, Callable[[], CLIP]] = {
    "RN50": presets.rn50,
    "RN101": presets.rn101,
    "RN50x4": presets.rn50x4,
    "RN50x16": presets.rn50x16,
    "RN50x64": presets.rn50x64,
    "ViT-B/32": presets.vit_b_32,
    "ViT-B/16": presets.vit_b_16,
    "ViT-L/14": presets.vit_l_14,
    "ViT-L/14@336px": presets.vit_l_14_336,
}
"""The models by their names in the paper."""


def paper_name(model: CLIP) -> str | None:
    """Name in the paper of the model that has these sizes, None if it has none such."""
    shapes = _shapes(model)
    with torch.device("meta"):
        return next((name for name, build in PAPER.items() if _shapes(build()) == shapes), None)


def _shapes(model: CLIP) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in model.state_dict().items()}
