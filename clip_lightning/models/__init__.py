"""Towers and the two-tower model. Torch only: usable in a notebook without Lightning."""

from clip_lightning.models.bag_of_words import BagOfWords
from clip_lightning.models.base import ImageEncoder, Pixels, TextEncoder
from clip_lightning.models.clip import CLIP
from clip_lightning.models.hf_text_encoder import HFTextEncoder
from clip_lightning.models.lora import LoRA
from clip_lightning.models.modified_resnet import ModifiedResNet
from clip_lightning.models.text_transformer import TextTransformer
from clip_lightning.models.timm_encoder import TimmImageEncoder
from clip_lightning.models.tuning import TowerTuning
from clip_lightning.models.vit import VisionTransformer

__all__ = [
    "CLIP",
    "BagOfWords",
    "HFTextEncoder",
    "ImageEncoder",
    "LoRA",
    "ModifiedResNet",
    "Pixels",
    "TextEncoder",
    "TextTransformer",
    "TimmImageEncoder",
    "TowerTuning",
    "VisionTransformer",
]
