"""ShapeScenes: a benchmark that is computed, with pictures of shapes, noisy captions, and combinations never seen.

A scene is a pure function of (seed, split, index): nothing is downloaded, and splits cannot leak into each other. A
quarter of the 64 pairs of colour and shape occurs in the split "heldout" alone, in no picture or caption of another.
"""

import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import get_args

import numpy as np
from jaxtyping import UInt8

from clip_lightning.data.base import RawSample, Source
from clip_lightning.data.labelled import LabelledDataset
from clip_lightning.data.shape_drawing import draw
from clip_lightning.data.shape_grammar import PAIRS, Scene, Swap, captions_of, compose, swapped_captions
from clip_lightning.data.shape_parts import PARTS, Split

# Part of the fingerprint; raise it with every change of scenes, captions or drawing.
_VERSION = 1
_BLOCK = 64
_PLAIN = ("train", "val", "test")
_SINGLE = ("single", "heldout", "small", "tail")


class ShapeScenes(Source):
    """Pictures of 32x32 pixels with five captions each.

    Pictures are drawn when first asked for, a block at a time, and kept with their captions (5 kB a scene).

    Args:
        split: "train" and "captions" mix single shapes, groups, texts and couples; "val" and "test" hold single shapes,
            "heldout" those of the pairs of colour and shape that occur nowhere else. ``shape_parts`` lists the others,
            which hold no such pair either.
        size: Number of scenes; by default that of ``shape_parts``, 16,384 for training.
        seed: Of the whole benchmark; another seed is another benchmark with the same held-out pairs.

    Raises:
        ValueError: If the split is unknown or the size is not positive.
    """

    def __init__(self, split: Split = "train", size: int | None = None, seed: int = 0) -> None:
        if split not in PARTS:
            raise ValueError(f"ShapeScenes has no split {split!r}; use one of {', '.join(PARTS)}")
        if size is not None and size < 1:
            raise ValueError(f"size {size} leaves no scenes; use at least 1")
        self.name = "shape_scenes" if split in _PLAIN else f"shape_scenes_{split}"
        self.split = split
        self.size = PARTS[split].size if size is None else size
        self.seed = seed
        self._scenes: dict[int, Scene] = {}
        self._captions: dict[int, tuple[str, ...]] = {}
        self._drawn: dict[int, UInt8[np.ndarray, "block side side 3"]] = {}

    @property
    def fingerprint(self) -> str:
        """Hash of the version of the benchmark and of the arguments."""
        return hashlib.sha256(repr(("ShapeScenes", _VERSION, self.split, self.size, self.seed)).encode()).hexdigest()

    @property
    def block_sizes(self) -> Sequence[int]:
        """One block."""
        return [self.size]

    def scene(self, index: int) -> Scene:
        """What is in a scene: the truth that pictures and captions come from.

        Raises:
            IndexError: If there is no such scene.
        """
        if not 0 <= index < self.size:
            raise IndexError(f"scene {index} of {self.size}")
        if index not in self._scenes:
            self._scenes[index] = compose(self.split, index, self.seed)
        return self._scenes[index]

    def read(self, index: int) -> RawSample:
        """Picture and captions of a scene."""
        captions = self._captions_of(index)
        start = index // _BLOCK * _BLOCK
        if start not in self._drawn:
            self._drawn[start] = draw([self.scene(i).picture for i in range(start, min(start + _BLOCK, self.size))])
        return RawSample(self._drawn[start][index - start].copy(), captions)

    def captions(self) -> Iterator[str]:
        """Five captions a scene; nothing is drawn."""
        for index in range(self.size):
            yield from self._captions_of(index)

    def _captions_of(self, index: int) -> tuple[str, ...]:
        if index not in self._captions:
            self._captions[index] = captions_of(self.scene(index))
        return self._captions[index]


class ShapeSwaps(ShapeScenes):
    """Pictures of two shapes, with what they show and the same in which something is exchanged as captions.

    Args:
        swap: "order" exchanges what is left of, or above, what; "colour" the colours of the two shapes, of which no
            held-out pair results.
        size: Number of scenes; by default 200.
        seed: Of the benchmark.

    Raises:
        ValueError: If there is no such swap, or the size is not positive.
    """

    def __init__(self, swap: Swap = "order", size: int | None = None, seed: int = 0) -> None:
        if swap not in get_args(Swap):
            raise ValueError(f"ShapeSwaps has no swap {swap!r}; use one of {', '.join(get_args(Swap))}")
        super().__init__("swap", size, seed)
        self.name = f"shape_scenes_swapped_{swap}"
        self._swap: Swap = swap

    @property
    def fingerprint(self) -> str:
        """Hash of the version of the benchmark and of the arguments."""
        return hashlib.sha256(f"{super().fingerprint} {self._swap}".encode()).hexdigest()

    def _captions_of(self, index: int) -> tuple[str, ...]:
        return swapped_captions(self.scene(index), self._swap)


@functools.cache
def _default_templates() -> tuple[str, ...]:
    return tuple(files("clip_lightning").joinpath("prompts", "shape_scenes.txt").read_text("utf-8").splitlines())


class ShapeScenesLabels(LabelledDataset):
    """Single shapes, labelled by colour and shape: always all 64 pairs, though only "heldout" holds the held-out ones.

    Args:
        split: "val", "test" or "heldout".
        seed: Of the benchmark.
        templates: Sentences with a ``{}`` each; by default those of the captions.
        size: Number of scenes; by default that of the split.

    Raises:
        ValueError: If the split mixes kinds of scenes.
    """

    def __init__(
        self, split: Split = "test", seed: int = 0, templates: list[str] | None = None, size: int | None = None
    ) -> None:
        if split in PARTS and PARTS[split].kind not in _SINGLE:
            raise ValueError(
                f"the split {split!r} has scenes without one colour and shape; use 'val', 'test' or 'heldout'"
            )
        self.source: ShapeScenes = ShapeScenes(split, size, seed)
        self.name = self.source.name
        self.split = split
        self.class_names = [[" ".join(pair)] for pair in PAIRS]
        self.templates = list(_default_templates()) if templates is None else templates

    def target(self, index: int) -> int:
        """Number of the pair of colour and shape."""
        mark = self.source.scene(index).picture.marks[0]
        return PAIRS.index((mark.colour, mark.what))

    def groups(self, index: int) -> Mapping[str, str]:
        """Colour, shape, size and background."""
        scene = self.source.scene(index)
        mark = scene.picture.marks[0]
        return {
            "colour": mark.colour,
            "shape": mark.what,
            "size": scene.sizes[0],
            "background": scene.picture.background,
        }
