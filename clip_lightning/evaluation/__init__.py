"""Evaluators over features and scores. They know no model, so they rate every model alike."""

from clip_lightning.evaluation.base import Context, Evaluator
from clip_lightning.evaluation.retrieval import Retrieval
from clip_lightning.evaluation.zero_shot import ZeroShot

__all__ = ["Context", "Evaluator", "Retrieval", "ZeroShot"]
