"""Any classification set of torchvision as a labelled set."""

import functools
import hashlib
import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray as NDArray
from PIL import Image

from clip_lightning.data.base import Damaged, RawSample, Source
from clip_lightning.data.class_names import NamedClass, distinct, in_own_order, named, read_class_names
from clip_lightning.data.decoding import decode
from clip_lightning.data.labelled import LabelledDataset, Metric
from clip_lightning.refusal import first_line
from clip_lightning.text import read_templates

if TYPE_CHECKING:
    from torchvision.datasets import VisionDataset

# Under these names torchvision's sets keep their labels, so that no image need be opened for them.
_LABELS = ("targets", "labels", "_labels", "y")
# And under these the paths of their images, alone or before the label.
_FILES = ("_image_files", "_images", "samples", "_samples", "images")
# Samples whose pixels stand for those of all in the fingerprint.
_PROBES = 16


class TorchvisionLabels(LabelledDataset):
    """Images and labels of a ``torchvision.datasets`` class: CIFAR10, Food101, ImageFolder, FakeData, ...

    Reading the files is torchvision's own: its readers of CIFAR unpickle them, once it has checked their MD5 sums.

    Args:
        dataset: The set, without ``transform`` and ``target_transform``.
        templates: Sentences with a ``{}`` each for the class name, or a text file with one a line.
        class_names: As ``read_class_names`` takes them, in the order of the labels, or in any order if they are the
            set's own but for case, blanks and the like; by default the set's own ``classes``.
        name: Short name, part of a metric's key; by default the class of the set in lower case.
        split: Which part of the data it is, for reports.
        known_names: Names that are known to be those of some labels; a list of names in another order is refused.
        metric: The metric that models are compared by on this set.
        published_size: Number of samples that publications report; another one is told of.

    Raises:
        ValueError: If the set transforms its samples, has other labels than one number a sample, or the class names do
            not fit the labels.
    """

    def __init__(
        self,
        dataset: "VisionDataset",
        templates: list[str] | str | Path,
        class_names: list[str | list[str]] | str | Path | None = None,
        name: str | None = None,
        split: str = "test",
        known_names: dict[int, str] | None = None,
        metric: Metric = "accuracy",
        published_size: int | None = None,
    ) -> None:
        kind = type(dataset).__name__
        if dataset.transforms is not None:
            raise ValueError(f"{kind} has a transform of its own; leave it out, since the model's is used")
        self._labels = _labels(dataset, kind)
        self.class_names = [one.names for one in _class_names(dataset, class_names, self._labels, kind)]
        self.templates = read_templates(templates)
        self.name = name or kind.lower()
        self.split = split
        self.source = _Images(self.name, dataset, self._labels)
        self.metric = metric
        self.known_names = known_names or {}
        self.published_size = published_size
        self.tell_size()

    def target(self, index: int) -> int:
        """Label of a sample."""
        return int(self._labels[index])


def _labels(dataset: Any, kind: str) -> Int[NDArray, "samples"]:
    """The label of each sample; where the set does not keep them together, all of it is read once."""
    if not len(dataset):
        raise ValueError(f"{kind} has no samples")
    kept = next((getattr(dataset, name) for name in _LABELS if hasattr(dataset, name)), None)
    if kept is None or len(kept) != len(dataset):
        kept = [dataset[index][1] for index in range(len(dataset))]
    try:
        labels = np.asarray(kept)
    except ValueError:
        labels = np.zeros(0)
    if labels.shape != (len(dataset),) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"the labels of {kind} are not one number a sample, but such as {kept[0]!r}")
    return labels.astype(np.int64)


def _class_names(
    dataset: Any, given: Sequence[str | list[str]] | str | Path | None, labels: Int[NDArray, "samples"], kind: str
) -> list[NamedClass]:
    """Names of the classes, checked against the labels."""
    own = getattr(dataset, "classes", None)
    if given is not None:
        names = read_class_names(given)
    elif own:
        # ImageNet's are tuples of names.
        names = distinct(
            named(f"{kind}.classes[{number}] (or give class_names)", one) for number, one in enumerate(own)
        )
    else:
        raise ValueError(f"{kind} does not name its classes; give class_names")
    present = np.unique(labels)
    if present[0] < 0 or present[-1] >= len(names):
        raise ValueError(
            f"{kind} has labels from {present[0]} to {present[-1]}, but there are {len(names)} class names"
        )
    if own and given is not None:
        names = in_own_order(names, [one if isinstance(one, str) else one[0] for one in own], kind)
    if not own and len(present) < len(names):
        empty = [names[number].names[0] for number in sorted(set(range(len(names))) - set(present.tolist()))]
        raise ValueError(f"{kind} has no image of the classes {empty}; remove their names")
    return names


class _Images(Source):
    """The images of the set, without captions."""

    def __init__(self, name: str, dataset: Any, labels: Int[NDArray, "samples"]) -> None:
        self.name = name
        self._dataset = dataset
        self._labels = labels

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the class, all labels, and the pixels of some samples spread evenly."""
        kind = type(self._dataset)
        digest = hashlib.sha256(f"{kind.__module__}.{kind.__qualname__}".encode() + self._labels.tobytes())
        for index in np.unique(np.linspace(0, len(self._labels) - 1, _PROBES).astype(int)).tolist():
            try:
                pixels: Any = self.read(index).image
            except Damaged as error:
                pixels = np.frombuffer(str(error).encode(), dtype=np.uint8)
            digest.update(repr(pixels.shape).encode() + pixels.tobytes())
        return digest.hexdigest()

    @property
    def block_sizes(self) -> Sequence[int]:
        """One block."""
        return (len(self._labels),)

    def read(self, index: int) -> RawSample:
        """The image of a sample, without captions.

        Raises:
            Damaged: If torchvision cannot read it.
        """
        try:
            image = self._dataset[index][0]
        except FileNotFoundError:
            raise Damaged("image file is missing") from None
        except (OSError, ValueError, SyntaxError):  # as Pillow's readers raise them
            raise Damaged("image cannot be read") from None
        if not isinstance(image, Image.Image):
            raise Damaged(f"a {type(image).__name__} instead of an image")
        return RawSample(decode(image).permute(1, 2, 0).numpy(), ())

    def captions(self) -> Iterator[str]:
        """None."""
        return iter(())

    def place(self, index: int) -> str:
        """Path of an image where the set has one, for messages."""
        kept = next((getattr(self._dataset, name) for name in _FILES if hasattr(self._dataset, name)), None)
        file = kept[index] if kept is not None else None
        file = file[0] if isinstance(file, tuple) else file
        return str(file) if isinstance(file, str | Path) else super().place(index)


def open_vision_dataset(cls: "type[VisionDataset]", *args: Any, **kwargs: Any) -> "VisionDataset":
    """Builds a set of torchvision, and says where its files belong if they are not there.

    Args:
        cls: Class of the set.
        *args: Its arguments.
        **kwargs: Its further arguments.

    Raises:
        ValueError: If its files are missing or damaged, with the remedy.
    """
    try:
        return cls(*args, **kwargs)
    except (RuntimeError, OSError) as error:
        reason = first_line(error)
    root = str(kwargs.get("root", args[0] if args else "."))
    remedy = f"put its files into {root!r}"
    if "download" in inspect.signature(cls).parameters:
        remedy = f"set download: true, or {remedy} as torchvision lays them out"
    raise ValueError(f"{cls.__name__} cannot be read: {reason}; {remedy}")
