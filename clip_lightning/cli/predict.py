"""Writes the features that ``embed`` writes by Lightning's trainer, with its devices, strategies and precisions."""

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import jsonargparse
from jaxtyping import Float
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser
from torch import Tensor

from clip_lightning.callbacks.features import WriteFeatures
from clip_lightning.cli.compose import compose
from clip_lightning.cli.embed import begin, conclude, features_parser
from clip_lightning.cli.errors import UserError
from clip_lightning.cli.keys import with_suggestion
from clip_lightning.cli.trained import workers
from clip_lightning.cli.training import quiet
from clip_lightning.cli.trust import check_parts, refuse_what_is_no_part
from clip_lightning.config import Config
from clip_lightning.data import CenterCrop, ImageBatch
from clip_lightning.inference.embed import Setting, part_batches
from clip_lightning.inference.feature_folder import FeatureFolder
from clip_lightning.inference.images import FoundImages
from clip_lightning.models import CLIP

_WHAT = """Writes what embed writes, by Lightning's trainer: --trainer.devices 4, --trainer.strategy ddp,
--trainer.precision bf16-mixed, and what else lightning.pytorch.Trainer takes. Each process makes parts of its own.

  python -m clip_lightning predict --checkpoint best.ckpt --images photos --output features --trainer.devices 2
"""

TRAINER: Config = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
}


class ImageFeatures(LightningModule):
    """The image side of a model, for a trainer.

    Args:
        model: A trained model.
    """

    def __init__(self, model: CLIP) -> None:
        super().__init__()
        self.model = model

    def predict_step(self, batch: ImageBatch, batch_index: int) -> Float[Tensor, "batch embed_dim"]:
        """Image features: projected, not of unit length."""
        if not len(batch.indices):
            return batch.image.new_zeros((0, self.model.embed_dim), dtype=self.model.logit_scale.dtype)
        return self.model.encode_image(self.model.normalize(batch.image))


class ImagesOfParts(LightningDataModule):
    """The images of the parts that are still to be made, of which each process has its share.

    Args:
        source: The images.
        folder: Which parts they belong to.
        crop: What the model expects.
        setting: How they are read.
    """

    def __init__(self, source: FoundImages, folder: FeatureFolder, crop: CenterCrop, setting: Setting) -> None:
        super().__init__()
        # Now, before any process writes: all must see the same.
        self._parts = folder.unfinished()
        self._arguments = source, folder, crop, setting

    def predict_dataloader(self) -> "ImagesOfParts":
        """This object: the trainer iterates over it."""
        return self

    def __iter__(self) -> Iterator[ImageBatch]:
        """The batches of this process."""
        trainer: Any = self.trainer
        source, folder, crop, setting = self._arguments
        share = self._parts[trainer.global_rank :: trainer.world_size]
        return iter(part_batches(source, folder, share, crop, setting))


def main(arguments: Sequence[str]) -> int:
    """Predicts.

    Args:
        arguments: Command line after the verb.

    Returns:
        Exit code.

    Raises:
        UserError: If an option is not accepted.
    """
    trainer_arguments, others = _split(arguments)
    options = features_parser("predict", _WHAT).parse(others)
    config, _ = compose(trainer_arguments, ("trainer",))
    trainer = _build_trainer(config.get("trainer", {}))
    source, pretrained, folder = begin(options)
    setting = Setting(options.batch_size, workers(options.num_workers, trainer.num_devices))
    images = ImagesOfParts(source, folder, CenterCrop.of(pretrained.model.pixels), setting)
    trainer.callbacks.append(WriteFeatures(folder, source))  # type: ignore[attr-defined]
    with folder.alone() if trainer.is_global_zero else contextlib.nullcontext():
        trainer.predict(ImageFeatures(pretrained.model), images, return_predictions=False)
    if trainer.is_global_zero:
        conclude(source, folder)
    return 0


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Takes each ``--trainer.KEY VALUE`` out of a command line."""
    taken: list[str] = []
    others: list[str] = []
    pending = list(arguments)
    while pending:
        argument = pending.pop(0)
        place = taken if argument.startswith("--trainer.") else others
        place.append(argument)
        if place is taken and "=" not in argument and pending:
            taken.append(pending.pop(0))
    return taken, others


def _build_trainer(given: Config) -> Trainer:
    """Lightning's trainer with some settings.

    Raises:
        UserError: If it does not accept one.
    """
    quiet()
    refuse_what_is_no_part()
    config = {"trainer": {**TRAINER, **given}}
    check_parts(config)
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_lightning_class_args(Trainer, "trainer")
    try:
        settings = parser.instantiate(parser.parse_object(config)).trainer
    except (argparse.ArgumentError, jsonargparse.ArgumentError) as error:
        raise UserError(with_suggestion(str(error))) from None
    return Trainer(**settings)
