"""Handwritten digits, as scikit-learn ships them: a labelled set of real pictures without any download."""

import hashlib
import importlib.util
from collections.abc import Iterator, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import UInt8

from clip_lightning.data.base import RawSample, Source
from clip_lightning.data.class_names import read_class_names
from clip_lightning.data.labelled import LabelledDataset
from clip_lightning.text import read_templates

Split = Literal["train", "val", "test"]
# Where each part ends. The pictures stand in the order of their writers, so the parts share few of these.
_ENDS = {"train": 1_197, "val": 1_497, "test": 1_797}


class Digits(LabelledDataset):
    """1,797 grey pictures of 8x8 pixels, bright ink on black, of the digits 0 to 9.

    In scikit-learn's order, "train" are the first 1,197, "val" the next 300 and "test" the last 300.

    Args:
        split: "train", "val" or "test".
        templates: Sentences with a ``{}`` each for the class name, or a text file with one a line; by default three
            about handwritten numbers.
        class_names: A name or a list of names for each digit, or a text file with a digit a line; by default the
            numeral and the word.

    Raises:
        ValueError: If scikit-learn is not installed, the split is unknown, or there are not ten names.

    Source: Alpaydin and Kaynak 1998, "Optical Recognition of Handwritten Digits", the UCI repository's test set.
    """

    def __init__(
        self,
        split: Split = "test",
        templates: list[str] | str | Path | None = None,
        class_names: list[str | list[str]] | str | Path | None = None,
    ) -> None:
        if split not in _ENDS:
            raise ValueError(f"Digits has no split {split!r}; use one of {', '.join(get_args(Split))}")
        if importlib.util.find_spec("sklearn") is None:
            raise ValueError("the digits come with scikit-learn, which is not installed; pip install scikit-learn")
        from sklearn.datasets import load_digits

        with as_file(files("clip_lightning") / "prompts") as prompts:
            self.templates = read_templates(prompts / "digits.txt" if templates is None else templates)
            names = read_class_names(prompts / "digits_class_names.txt" if class_names is None else class_names)
        if len(names) != 10:
            raise ValueError(f"class_names has {len(names)} classes; give one for each digit from 0 to 9")
        self.class_names = [one.names for one in names]
        self.name, self.split = "digits", split
        start = max((end for end in _ENDS.values() if end < _ENDS[split]), default=0)
        everything = load_digits()
        self._labels = everything.target[start : _ENDS[split]].astype(np.int64)
        grey = np.round(everything.images[start : _ENDS[split]] * (255 / 16)).astype(np.uint8)
        self.source = _Pictures(np.repeat(grey[..., None], 3, axis=3))

    def target(self, index: int) -> int:
        """The digit."""
        return int(self._labels[index])


class _Pictures(Source):
    """Pictures without captions."""

    def __init__(self, pictures: UInt8[np.ndarray, "pictures 8 8 3"]) -> None:
        self.name = "digits"
        self._pictures = pictures

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the pixels."""
        return hashlib.sha256(self._pictures.tobytes()).hexdigest()

    @property
    def block_sizes(self) -> Sequence[int]:
        """One block."""
        return (len(self._pictures),)

    def read(self, index: int) -> RawSample:
        """A picture, without captions."""
        return RawSample(self._pictures[index].copy(), ())

    def captions(self) -> Iterator[str]:
        """None."""
        return iter(())
