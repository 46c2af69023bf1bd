"""Sources of image-text pairs, their order, and loaders."""

from clip_lightning.data.augmentation import Augmented
from clip_lightning.data.base import Damaged, RawSample, Source
from clip_lightning.data.class_folders import ClassFolders, LabelledFolders
from clip_lightning.data.collate import content_id
from clip_lightning.data.decoding import decode
from clip_lightning.data.digits import Digits
from clip_lightning.data.evaluation_loader import EvaluationPairLoader
from clip_lightning.data.folders import ImageTextFolder
from clip_lightning.data.image_pass import ImageBatch, images_of
from clip_lightning.data.labelled import LabelledDataset
from clip_lightning.data.labelled_manifest import LabelledManifest
from clip_lightning.data.loader import PairLoader
from clip_lightning.data.manifest import Manifest
from clip_lightning.data.order import Order
from clip_lightning.data.shape_scenes import ShapeScenes, ShapeScenesLabels
from clip_lightning.data.shards import Shards
from clip_lightning.data.torchvision_labels import TorchvisionLabels
from clip_lightning.data.transforms import CenterCrop, RandomSquareCrop, Transform, View

__all__ = [
    "Augmented",
    "CenterCrop",
    "ClassFolders",
    "Damaged",
    "Digits",
    "EvaluationPairLoader",
    "ImageBatch",
    "ImageTextFolder",
    "LabelledDataset",
    "LabelledFolders",
    "LabelledManifest",
    "Manifest",
    "Order",
    "PairLoader",
    "RandomSquareCrop",
    "RawSample",
    "ShapeScenes",
    "ShapeScenesLabels",
    "Shards",
    "Source",
    "TorchvisionLabels",
    "Transform",
    "View",
    "content_id",
    "decode",
    "images_of",
]
