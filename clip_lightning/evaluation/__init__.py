"""Evaluators over features and scores. They know no model, so they rate every model alike."""

from clip_lightning.evaluation.base import Context, Evaluator
from clip_lightning.evaluation.calibration import Calibration
from clip_lightning.evaluation.caption_choice import CaptionChoice
from clip_lightning.evaluation.clip_accuracy import ClipAccuracy
from clip_lightning.evaluation.few_shot import FewShot
from clip_lightning.evaluation.geolocation import Geolocation
from clip_lightning.evaluation.linear_probe import LinearProbe
from clip_lightning.evaluation.out_of_distribution import OutOfDistribution
from clip_lightning.evaluation.probe import Probed, linear_probe
from clip_lightning.evaluation.prompt_gain import PromptGain
from clip_lightning.evaluation.rare_actions import RareActions
from clip_lightning.evaluation.retrieval import Retrieval
from clip_lightning.evaluation.selective import SelectivePrediction
from clip_lightning.evaluation.template_sensitivity import TemplateSensitivity
from clip_lightning.evaluation.zero_shot import ZeroShot

__all__ = [
    "Calibration",
    "CaptionChoice",
    "ClipAccuracy",
    "Context",
    "Evaluator",
    "FewShot",
    "Geolocation",
    "LinearProbe",
    "OutOfDistribution",
    "Probed",
    "PromptGain",
    "RareActions",
    "Retrieval",
    "SelectivePrediction",
    "TemplateSensitivity",
    "ZeroShot",
    "linear_probe",
]
