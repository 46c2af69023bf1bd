"""What a trained model is used for: features in one pass, zero-shot classification, matching. No Lightning."""

from clip_lightning.inference.context import LiveContext
from clip_lightning.inference.feature_cache import FeatureCache
from clip_lightning.inference.features import ImagePass
from clip_lightning.inference.matches import best_captions
from clip_lightning.inference.zero_shot import zero_shot_classifier

__all__ = ["FeatureCache", "ImagePass", "LiveContext", "best_captions", "zero_shot_classifier"]
