"""Which parameters decay, which optimiser updates them, and how the learning rate goes."""

from clip_lightning.optim.build import PAPER_ADAMW, OptimizerCallable, build_optimizer, check_rounding
from clip_lightning.optim.groups import decay_groups
from clip_lightning.optim.half_precision import HalfPrecisionAdamW
from clip_lightning.optim.schedules import Schedule, WarmupConstant, WarmupCosine, WarmupReciprocalSqrt

__all__ = [
    "PAPER_ADAMW",
    "HalfPrecisionAdamW",
    "OptimizerCallable",
    "Schedule",
    "WarmupConstant",
    "WarmupCosine",
    "WarmupReciprocalSqrt",
    "build_optimizer",
    "check_rounding",
    "decay_groups",
]
