"""Labelled images in webdataset shards, as clip_benchmark publishes its data sets."""

from pathlib import Path

import numpy as np

from clip_lightning.data.class_names import read_class_names
from clip_lightning.data.folder_files import folder_name
from clip_lightning.data.labelled import LabelledDataset, Metric
from clip_lightning.data.shards import Shards
from clip_lightning.refusal import did_you_mean
from clip_lightning.text import read_templates


class WebdatasetLabels(LabelledDataset):
    """A folder of shards whose samples have a ``.cls`` member with the label.

    ``PATH/test/0.tar, 1.tar, ..., nshards.txt``, with ``classnames.txt`` and ``zeroshot_classification_templates.txt``
    beside them, and ``dataset_type.txt`` for anything but one label a sample. That is how
    ``https://huggingface.co/datasets/clip-benchmark/wds_NAME`` has them, and ``clip_benchmark_export_wds`` writes them.

    Args:
        path: The folder.
        split: Folder of the shards in it.
        templates: As ``read_templates`` takes them; by default the folder's.
        class_names: As ``read_class_names`` takes them; by default the folder's.
        name: Short name, part of a metric's key; by default that of the folder without "wds_" and "vtab-".
        metric: The metric that models are compared by on this set.
        known_names: Names that are known to be those of some labels; a list of names in another order is refused.
        published_size: Number of samples that publications report; another one is told of.

    Raises:
        ValueError: If the folder is not as said, a shard is not whole, or a label is no number of a class.
    """

    def __init__(
        self,
        path: str | Path,
        split: str = "test",
        templates: list[str] | str | Path | None = None,
        class_names: list[str | list[str]] | str | Path | None = None,
        name: str | None = None,
        metric: Metric = "accuracy",
        known_names: dict[int, str] | None = None,
        published_size: int | None = None,
    ) -> None:
        path = Path(path)
        _check_kind(path)
        self.source = Shards(_shards(path / split), caption_extension="cls")
        self.name = self.source.name = name or folder_name(path).removeprefix("wds_").removeprefix("vtab-")
        self.split = split
        self.metric = metric
        self.known_names = known_names or {}
        given = path / "classnames.txt" if class_names is None else class_names
        self.class_names = [one.names for one in read_class_names(given)]
        own = path / "zeroshot_classification_templates.txt"
        self.templates = read_templates(own if templates is None else templates)
        self._labels = np.array([_label(text, self.source.name) for text in self.source.captions()], dtype=np.int64)
        if not 0 <= self._labels.min() <= self._labels.max() < len(self.class_names):
            raise ValueError(
                f"{path / split} has labels from {self._labels.min()} to {self._labels.max()}, but there are "
                f"{len(self.class_names)} class names"
            )
        self.published_size = published_size
        self.tell_size()

    def target(self, index: int) -> int:
        """Label of a sample."""
        return int(self._labels[index])


def _check_kind(path: Path) -> None:
    """Refuses what has no labels, or several for a sample."""
    file = path / "dataset_type.txt"
    kind = file.read_text("utf-8").strip() if file.is_file() else "classification"
    if kind != "classification":
        remedy = (
            f"; for Retrieval take Shards with path {path}/test/*.tar and caption_on_each_line"
            if kind == "retrieval"
            else ""
        )
        raise ValueError(f"{path} is of the type {kind!r}; only sets with one label a sample are read{remedy}")


def _shards(folder: Path) -> list[str]:
    """The shards 0.tar, 1.tar, ... in the order of their numbers."""
    try:
        number = int((folder / "nshards.txt").read_text("utf-8"))
    except (OSError, ValueError):
        raise ValueError(
            f"{folder} has no nshards.txt with the number of its shards; it is to be a folder as clip_benchmark "
            f"writes them{did_you_mean(folder)}"
        ) from None
    return [str(folder / f"{shard}.tar") for shard in range(number)]


def _label(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name} has the label {text!r}, which is no number; write .cls members as numbers") from None
