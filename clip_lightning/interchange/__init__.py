"""Trained weights, read into a model with everything that belongs to it, and written for other libraries."""

from clip_lightning.interchange.pretrained import Pretrained, load
from clip_lightning.interchange.start import start_from

__all__ = ["Pretrained", "load", "start_from"]
