"""What is learned from a batch: one objective a file."""

from clip_lightning.objectives.bag_of_words_prediction import BagOfWordsPrediction
from clip_lightning.objectives.base import Objective, Scorer
from clip_lightning.objectives.captioning import Captioning
from clip_lightning.objectives.contrastive import Contrastive, contrastive_loss
from clip_lightning.objectives.distillation import Distillation, Teacher, distillation_loss
from clip_lightning.objectives.micro_batches import encode_in_micro_batches
from clip_lightning.objectives.sigmoid import Sigmoid, sigmoid_loss

__all__ = [
    "BagOfWordsPrediction",
    "Captioning",
    "Contrastive",
    "Distillation",
    "Objective",
    "Scorer",
    "Sigmoid",
    "Teacher",
    "contrastive_loss",
    "distillation_loss",
    "encode_in_micro_batches",
    "sigmoid_loss",
]
