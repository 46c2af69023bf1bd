"""Sources of image-text pairs, their order, and loaders."""

from clip_lightning.data.augmentation import Augmented
from clip_lightning.data.base import Damaged, RawSample, Source
from clip_lightning.data.class_folders import ClassFolders, LabelledFolders
from clip_lightning.data.clevr_counts import ClevrCounts
from clip_lightning.data.collate import content_id
from clip_lightning.data.decoding import decode
from clip_lightning.data.digits import Digits
from clip_lightning.data.evaluation_loader import EvaluationPairLoader
from clip_lightning.data.folders import ImageTextFolder
from clip_lightning.data.frame_clips import ImageNetVid, YouTubeBB
from clip_lightning.data.iiit_5k import IIIT5K
from clip_lightning.data.image_pass import ImageBatch, images_of
from clip_lightning.data.imagenet_folders import ImageNetFolders
from clip_lightning.data.kitti_distance import KittiDistance
from clip_lightning.data.labelled import LabelledDataset
from clip_lightning.data.labelled_manifest import LabelledManifest
from clip_lightning.data.loader import PairLoader
from clip_lightning.data.located_images import LocatedImages
from clip_lightning.data.manifest import Manifest
from clip_lightning.data.object_net import ObjectNet
from clip_lightning.data.order import Order
from clip_lightning.data.rare_act import RareAct
from clip_lightning.data.selection import ImagesPerClass, ListedImages
from clip_lightning.data.shape_scenes import ShapeScenes, ShapeScenesLabels, ShapeSwaps
from clip_lightning.data.shape_shifts import ShapeShifts
from clip_lightning.data.shape_tasks import ShapeTasks
from clip_lightning.data.shards import Shards
from clip_lightning.data.torchvision_labels import TorchvisionLabels
from clip_lightning.data.transforms import CenterCrop, RandomSquareCrop, Transform, View
from clip_lightning.data.video_folders import VideoFolders
from clip_lightning.data.voc_labels import VocLabels
from clip_lightning.data.webdataset_labels import WebdatasetLabels

__all__ = [
    "IIIT5K",
    "Augmented",
    "CenterCrop",
    "ClassFolders",
    "ClevrCounts",
    "Damaged",
    "Digits",
    "EvaluationPairLoader",
    "ImageBatch",
    "ImageNetFolders",
    "ImageNetVid",
    "ImageTextFolder",
    "ImagesPerClass",
    "KittiDistance",
    "LabelledDataset",
    "LabelledFolders",
    "LabelledManifest",
    "ListedImages",
    "LocatedImages",
    "Manifest",
    "ObjectNet",
    "Order",
    "PairLoader",
    "RandomSquareCrop",
    "RareAct",
    "RawSample",
    "ShapeScenes",
    "ShapeScenesLabels",
    "ShapeShifts",
    "ShapeSwaps",
    "ShapeTasks",
    "Shards",
    "Source",
    "TorchvisionLabels",
    "Transform",
    "VideoFolders",
    "View",
    "VocLabels",
    "WebdatasetLabels",
    "YouTubeBB",
    "content_id",
    "decode",
    "images_of",
]
