"""Writes what a trainer predicts as ``embed`` writes it."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from clip_lightning.data import ImageBatch
from clip_lightning.inference.embed import PartWriter
from clip_lightning.inference.feature_folder import FeatureFolder
from clip_lightning.inference.images import FoundImages


class WriteFeatures(Callback):
    """Writes image features to a feature folder, each process the parts whose images it encodes.

    Args:
        folder: Where the features go.
        source: The images.
    """

    def __init__(self, folder: FeatureFolder, source: FoundImages) -> None:
        self._writer = PartWriter(folder, source)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: ImageBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Takes a batch."""
        features: Tensor = outputs
        self._writer.add(batch, features.float().cpu().numpy())

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Waits for the others, so that the folder is complete when any of them goes on."""
        trainer.strategy.barrier()
