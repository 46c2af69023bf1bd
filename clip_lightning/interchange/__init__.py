"""Trained weights, read into a model with everything that belongs to it."""

from clip_lightning.interchange.pretrained import Pretrained, load

__all__ = ["Pretrained", "load"]
