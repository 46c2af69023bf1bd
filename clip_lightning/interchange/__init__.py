"""Trained weights, read into a model with everything that belongs to it, and written for other libraries."""

from clip_lightning.interchange.pretrained import Pretrained, load
from clip_lightning.interchange.start import start_from
from clip_lightning.interchange.teacher import PretrainedTeacher

__all__ = ["Pretrained", "PretrainedTeacher", "load", "start_from"]
