"""Lightning callbacks: evaluators in fit, averaged weights, checkpoints to go on from exactly, pictures, progress."""

from clip_lightning.callbacks.averaging import WeightAverages
from clip_lightning.callbacks.batch_statistics import BatchStatistics
from clip_lightning.callbacks.checkpoints import Checkpoints
from clip_lightning.callbacks.damage import Damage
from clip_lightning.callbacks.epoch_averages import EpochAverages
from clip_lightning.callbacks.evaluation import RunEvaluators
from clip_lightning.callbacks.gradient_noise import GradientNoise
from clip_lightning.callbacks.guards import Guards, TrainingFailed
from clip_lightning.callbacks.health import Health
from clip_lightning.callbacks.pictures import Pictures
from clip_lightning.callbacks.progress import Progress
from clip_lightning.callbacks.random_states import RandomStates
from clip_lightning.callbacks.signals import TrainingStopped, stopping_at_once
from clip_lightning.callbacks.throughput import Throughput

__all__ = [
    "BatchStatistics",
    "Checkpoints",
    "Damage",
    "EpochAverages",
    "GradientNoise",
    "Guards",
    "Health",
    "Pictures",
    "Progress",
    "RandomStates",
    "RunEvaluators",
    "Throughput",
    "TrainingFailed",
    "TrainingStopped",
    "WeightAverages",
    "stopping_at_once",
]
