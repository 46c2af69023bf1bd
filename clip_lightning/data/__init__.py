"""Sources of image-text pairs, their order, and loaders."""

from clip_lightning.data.base import Damaged, RawSample, Source
from clip_lightning.data.collate import content_id
from clip_lightning.data.decoding import decode
from clip_lightning.data.evaluation_loader import EvaluationPairLoader
from clip_lightning.data.image_pass import ImageBatch, labelled_images
from clip_lightning.data.labelled import LabelledDataset
from clip_lightning.data.labelled_manifest import LabelledManifest
from clip_lightning.data.loader import PairLoader
from clip_lightning.data.manifest import JsonLines
from clip_lightning.data.order import Order
from clip_lightning.data.shape_scenes import ShapeScenes, ShapeScenesLabels
from clip_lightning.data.transforms import CenterCrop, RandomSquareCrop, Transform

__all__ = [
    "CenterCrop",
    "Damaged",
    "EvaluationPairLoader",
    "ImageBatch",
    "JsonLines",
    "LabelledDataset",
    "LabelledManifest",
    "Order",
    "PairLoader",
    "RandomSquareCrop",
    "RawSample",
    "ShapeScenes",
    "ShapeScenesLabels",
    "Source",
    "Transform",
    "content_id",
    "decode",
    "labelled_images",
]
