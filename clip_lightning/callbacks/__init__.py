"""Lightning callbacks: evaluators in fit, checkpoints, pictures, progress."""

from clip_lightning.callbacks.checkpoints import Checkpoints
from clip_lightning.callbacks.evaluation import RunEvaluators
from clip_lightning.callbacks.pictures import Pictures
from clip_lightning.callbacks.progress import Progress

__all__ = ["Checkpoints", "Pictures", "Progress", "RunEvaluators"]
