"""The LightningDataModule: image-text pairs, prepared as the model that is trained expects them."""

from collections.abc import Callable, Iterable
from typing import Any

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from clip_lightning.batch import Batch
from clip_lightning.data import (
    Augmented,
    CenterCrop,
    EvaluationPairLoader,
    PairLoader,
    RandomSquareCrop,
    Source,
    Transform,
    View,
)
from clip_lightning.models import Pixels
from clip_lightning.task import CLIPTask


class ImageTextDataModule(LightningDataModule):
    """Image-text pairs for training and validation.

    Image size, interpolation and tokeniser are those of the model, so they are configured there and nowhere else.

    Args:
        train: Where training pairs come from; several sources are mixed.
        val: Held-out pairs for the validation loss.
        test: Held-out pairs for the test loss.
        batch_size: Pairs in one forward pass, over all processes.
        samples_per_epoch: Pairs between two evaluations; all pairs once by default.
        weights: Share of each training source; in proportion to their sizes by default.
        crop_scale: Side of the random square crop, as a fraction of the image's shorter side: smallest and largest.
            The paper crops a square of the full side, (1, 1).
        augmentations: What is done to the cropped and resized square in training, in this order: transforms of
            ``torchvision.transforms.v2`` that keep its size and type, such as ``ColorJitter`` or ``RandAugment``.
        num_workers: Processes that decode images; 0 decodes in the training process.
        seed: Seed of the order, the crops, the augmentations and the choice among captions.

    Raises:
        ValueError: If the batch does not divide over the processes, or is larger than the data.
    """

    def __init__(
        self,
        train: list[Source],
        val: Source | None = None,
        test: Source | None = None,
        batch_size: int = 256,
        samples_per_epoch: int | None = None,
        weights: list[float] | None = None,
        crop_scale: tuple[float, float] = (1.0, 1.0),
        augmentations: list[v2.Transform] = [],  # noqa: B006  (not changed; a union would hide its members' messages)
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if num_workers < 0 or batch_size < 1:
            raise ValueError(f"num_workers {num_workers} and batch_size {batch_size} must be at least 0 and 1")
        self.train = [train] if isinstance(train, Source) else train
        self.val = val
        self.test = test
        self.batch_size = batch_size
        self.samples_per_epoch = samples_per_epoch
        self.weights = weights
        self.crop_scale = crop_scale
        self.augmentations = augmentations
        self.num_workers = num_workers
        self.seed = seed
        self._train_loader: PairLoader | None = None
        self._place: dict[str, Any] | None = None

    @property
    def fingerprints(self) -> dict[str, str]:
        """Hash of what each source holds, by its place in the configuration."""
        sources = {f"train.{place}": source for place, source in enumerate(self.train)}
        sources |= {name: source for name, source in (("val", self.val), ("test", self.test)) if source is not None}
        return {name: source.fingerprint for name, source in sources.items()}

    def train_dataloader(self) -> PairLoader:
        """Training batches of this process, resumable with the next sample."""
        loader = self.train_loader(*self._connected())
        place = self.state_dict().get("train", self._place)
        if place is not None:
            loader.load_state_dict(place)
        self._train_loader = loader
        return loader

    def setup(self, stage: str) -> None:
        """Forgets an earlier training."""
        self._train_loader = self._place = None

    def state_dict(self) -> dict[str, Any]:
        """Where in the data the training is. Lightning's loops forget it at the end of an epoch."""
        return {} if self._train_loader is None else {"train": self._train_loader.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Has the next training loader go on there."""
        self._place = state_dict["train"]

    def val_dataloader(self) -> Iterable[Batch | None]:
        """Validation batches of this process; every pair once."""
        return self.pair_loader(self.val, *self._connected())

    def test_dataloader(self) -> Iterable[Batch | None]:
        """Test batches of this process; every pair once."""
        return self.pair_loader(self.test, *self._connected())

    def train_loader(self, task: CLIPTask, rank: int = 0, world_size: int = 1) -> PairLoader:
        """Training batches as a task expects them.

        Args:
            task: Whose image size and tokeniser to use.
            rank: Number of this process.
            world_size: Number of processes that share the batch.

        Returns:
            The loader of this process.

        Raises:
            ValueError: If the batch does not divide over the processes or is larger than the data, or an augmentation
                cannot be used.
        """
        return PairLoader(
            self.train,
            tokenizer=task.tokenizer,
            transform=self._training_transform(task.model.pixels),
            batch_size=self._per_process(world_size),
            weights=self.weights,
            samples_per_epoch=self.samples_per_epoch,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
            num_workers=self.num_workers,
            views=_views(task, self._training_transform),
        )

    def _training_transform(self, pixels: Pixels) -> Transform:
        crop = RandomSquareCrop(pixels.size, self.crop_scale, pixels.interpolation)
        return Augmented(crop, self.augmentations) if self.augmentations else crop

    def pair_loader(
        self, source: Source | None, task: CLIPTask, rank: int = 0, world_size: int = 1
    ) -> Iterable[Batch | None]:
        """Held-out pairs as a task expects them.

        Args:
            source: The pairs.
            task: Whose image size and tokeniser to use.
            rank: Number of this process.
            world_size: Number of processes that share the batch.

        Returns:
            The batches of this process; a single None without pairs, so that the evaluators still have their moment.
        """
        if source is None:
            no_pairs: Any = [None]
            return DataLoader(no_pairs, batch_size=None)
        return EvaluationPairLoader(
            [source],
            tokenizer=task.tokenizer,
            transform=CenterCrop.of(task.model.pixels),
            batch_size=self._per_process(world_size),
            rank=rank,
            world_size=world_size,
            num_workers=self.num_workers,
            views=_views(task, CenterCrop.of),
        )

    def _connected(self) -> tuple[CLIPTask, int, int]:
        """The task that is trained, and this process's place."""
        trainer: Any = self.trainer
        return trainer.lightning_module, trainer.global_rank, trainer.world_size

    def _per_process(self, world_size: int) -> int:
        if self.batch_size % world_size:
            nearest = max(world_size, self.batch_size // world_size * world_size)
            raise ValueError(
                f"batch_size {self.batch_size} does not divide over {world_size} processes; the nearest is {nearest}"
            )
        return self.batch_size // world_size


def _views(task: CLIPTask, transform: Callable[[Pixels], Transform]) -> dict[str, View]:
    """The further versions of each pair that the objective asks for."""
    wanted = task.objective.views().items()
    return {name: View(transform(pixels), tokenizer) for name, (pixels, tokenizer) in wanted}
