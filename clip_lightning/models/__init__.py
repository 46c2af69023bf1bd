"""Towers and the two-tower model. Torch only: usable in a notebook without Lightning."""

from clip_lightning.models.base import ImageEncoder, Pixels, TextEncoder
from clip_lightning.models.clip import CLIP
from clip_lightning.models.modified_resnet import ModifiedResNet
from clip_lightning.models.text_transformer import TextTransformer
from clip_lightning.models.timm_encoder import TimmImageEncoder
from clip_lightning.models.vit import VisionTransformer

__all__ = [
    "CLIP",
    "ImageEncoder",
    "ModifiedResNet",
    "Pixels",
    "TextEncoder",
    "TextTransformer",
    "TimmImageEncoder",
    "VisionTransformer",
]
