"""A part of a labelled set, where its publishers give no split or one that another program does not know."""

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int
from numpy import ndarray as NDArray

from clip_lightning.data.base import RawSample, Source
from clip_lightning.data.folder_files import shown
from clip_lightning.data.labelled import LabelledDataset
from clip_lightning.text import numbered_lines


class Selection(LabelledDataset):
    """Some samples of a labelled set, with its names, templates and metric.

    Args:
        dataset: The whole set.
        indices: Which samples, in their order.
        split: What they are, for reports.
        published_size: Number of samples that publications report; another one is told of.
    """

    def __init__(
        self, dataset: LabelledDataset, indices: Sequence[int], split: str, published_size: int | None
    ) -> None:
        self._dataset = dataset
        self._indices = np.asarray(indices, dtype=np.int64)
        self.name, self.split = dataset.name, split
        self.class_names, self.templates = dataset.class_names, dataset.templates
        self.metric, self.pooled, self.known_names = dataset.metric, dataset.pooled, dataset.known_names
        self.source = _Selected(dataset.source, self._indices)
        self.published_size = published_size
        self.tell_size()

    def target(self, index: int) -> int | NDArray:
        """Label of a sample."""
        return self._dataset.target(int(self._indices[index]))

    def accepted(self, index: int) -> Sequence[int]:
        """Labels that count as right for a sample."""
        return self._dataset.accepted(int(self._indices[index]))

    def prompts(self, templates: list[str] | None = None) -> list[list[str]]:
        """The texts that describe each class."""
        return self._dataset.prompts(templates)

    def groups(self, index: int) -> Mapping[str, str]:
        """Attributes of a sample by which results can be broken down."""
        return self._dataset.groups(int(self._indices[index]))


class ImagesPerClass(Selection):
    """As many images of each class, in an order that is the same everywhere and no one's choice: by a hash.

    What is taken without ``skip`` and what is taken with ``skip`` of that many have no image in common. Such a split
    has the sizes of a published one, and is not the published one; results say so by ``split``.

    Args:
        dataset: The whole set, of one label a sample.
        take: Images of each class; null takes all that are left.
        skip: Images of each class that are passed over first.
        published_size: Number of samples that publications report; another one is told of.

    Raises:
        ValueError: If nothing is taken.
    """

    def __init__(
        self, dataset: LabelledDataset, take: int | None = None, skip: int = 0, published_size: int | None = None
    ) -> None:
        if skip < 0 or (take is not None and take < 1):
            raise ValueError(f"take {take} must be at least 1, and skip {skip} at least 0")
        labels = np.array([dataset.target(index) for index in range(len(dataset))])
        stop = None if take is None else skip + take
        chosen = [index for members in _by_class(labels) for index in members[skip:stop]]
        if not chosen:
            raise ValueError(f"no class of {dataset.name!r} has more than {skip} images; lower skip")
        end = "on" if stop is None else f"to {stop}"
        super().__init__(
            dataset, sorted(chosen), f"each class's images {skip + 1} {end}, in an order by hash", published_size
        )


def _by_class(labels: Int[NDArray, "samples"]) -> Iterator[list[int]]:
    """The samples of each class, in the order of a hash of their index."""
    for label in np.unique(labels):
        yield sorted(
            np.flatnonzero(labels == label).tolist(), key=lambda index: hashlib.blake2b(b"%d" % index).digest()
        )


class ListedImages(Selection):
    """The images of a labelled set that a text file lists, such as a published split.

    Args:
        dataset: The whole set; its images are files.
        path: The file, an image a line, by its path or the end of its path: ``Abbott_Booby/1.jpg``. Lines without a
            dot, such as a header, are passed over.
        others: Whether instead the images are taken that it does not list.
        split: What these are, for reports.
        published_size: Number of samples that publications report; another one is told of.

    Raises:
        ValueError: If the file cannot be read, or none of its images is in the set.
    """

    def __init__(
        self,
        dataset: LabelledDataset,
        path: str | Path,
        others: bool = False,
        split: str = "test",
        published_size: int | None = None,
    ) -> None:
        lines = [line.split()[0].lstrip("/") for _, line in numbered_lines(path) if "." in line]
        wanted = dict.fromkeys(lines)
        places = [dataset.source.place(index) for index in range(len(dataset))]
        found = {line: index for index, place in enumerate(places) if (line := _listed(place, wanted)) is not None}
        if not found:
            raise ValueError(f"{path} lists no image of {dataset.name!r}, whose first is {places[0]}; mend the paths")
        if absent := [line for line in wanted if line not in found]:
            warnings.warn(
                f"{len(absent):,} of the {len(wanted):,} images that {path} lists are not there ({shown(absent)})",
                stacklevel=2,
            )
        # In an order that is the same everywhere: some sets have that in which the file system lists them.
        taken = [found[line] for line in wanted if line in found]
        if others:
            taken = sorted(set(range(len(dataset))).difference(taken), key=places.__getitem__)
        super().__init__(dataset, taken, split, published_size)


def _listed(place: str, wanted: Iterable[str]) -> str | None:
    """The line that means a file, which ends with it."""
    parts = Path(place).parts
    return next((end for start in range(len(parts)) if (end := "/".join(parts[start:])) in wanted), None)


class _Selected(Source):
    """Some samples of a source."""

    def __init__(self, source: Source, indices: Int[NDArray, "samples"]) -> None:
        self.name = source.name
        self._source = source
        self._indices = indices

    @property
    def fingerprint(self) -> str:
        """Hash of the whole source, and of which samples are taken."""
        return hashlib.sha256(self._source.fingerprint.encode() + self._indices.tobytes()).hexdigest()

    @property
    def block_sizes(self) -> Sequence[int]:
        """One block."""
        return (len(self._indices),)

    def read(self, index: int) -> RawSample:
        """A sample, as the whole source has it."""
        return self._source.read(int(self._indices[index]))

    def place(self, index: int) -> str:
        """Where a sample is to be found."""
        return self._source.place(int(self._indices[index]))

    def captions(self) -> Iterator[str]:
        """None: the samples are of a labelled set."""
        return iter(())
