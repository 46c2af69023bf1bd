"""Shapes under natural shifts in small: the scenes of "test", or scenes like them, that look different."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64, UInt8

from clip_lightning.data.base import RawSample, Source
from clip_lightning.data.class_names import read_class_names
from clip_lightning.data.labelled import LabelledDataset
from clip_lightning.data.shape_drawing import SHAPES, SIDE, Picture, draw, stream
from clip_lightning.data.shape_grammar import Scene, compose
from clip_lightning.text import read_templates

Shift = Literal["plain", "resample", "outline", "invert", "rotate", "hard", "jitter", "noise", "lowres"]
Pixels = UInt8[np.ndarray, "pictures side side 3"]

_VERSION = 1
# The purpose of random numbers; 0 to 2 are those of every scene.
_MOVES = 3
FRAMES = 5
_ANCHOR = FRAMES // 2
_FAR = 2.0
"""Pixels that a shape is moved at most between the anchor of a clip and another frame."""
_STRONG_NOISE = 45.0
_COARSE = 4
_HARD_TRAINING = 1_000
_SHAPES = list(SHAPES)


class ShapeShifts(LabelledDataset):
    """Which of 8 shapes a scene shows, under one shift.

    | shift | stands for | what differs from the scenes of "test" |
    |---|---|---|
    | plain | | nothing |
    | resample | ImageNetV2 | other scenes, three of four shapes small |
    | outline | Sketch | only the outlines of the shapes are drawn |
    | invert | ImageNet-R | each level of a channel is turned round |
    | rotate | ObjectNet | shapes turned by any angle, not by 17 degrees at most |
    | hard | ImageNet-A | other scenes, of which a linear model of the pixels errs on each |
    | jitter | ImageNet-Vid, YouTube-BB | clips of 5 frames, in each of which the shape is up to 2 pixels elsewhere |
    | noise | | normal noise of 45 levels instead of 6 |
    | lowres | | each 4x4 pixels are one |

    Args:
        shift: Which one.
        size: Number of pictures; of "jitter" that of the clips times 5.
        seed: Of the benchmark.
        templates: As ``read_templates`` takes them; by default those of the task "shape".

    Raises:
        ValueError: If there is no such shift, or the size is no number of whole clips.
    """

    def __init__(
        self, shift: Shift, size: int = 400, seed: int = 0, templates: list[str] | str | Path | None = None
    ) -> None:
        if shift not in _LOOKS:
            raise ValueError(f"ShapeShifts has no shift {shift!r}; use one of {', '.join(_LOOKS)}")
        if size < 1 or (shift == "jitter" and size % FRAMES):
            raise ValueError(f"size {size} must be at least 1, and of 'jitter' a multiple of {FRAMES}")
        self.source: _Shifted = _Shifted(shift, size, seed)
        self.name = self.source.name
        self.split = "test"
        with as_file(files("clip_lightning") / "prompts" / "shape_tasks.md") as prompts:
            self.class_names = [one.names for one in read_class_names(f"{prompts}#shape")]
            self.templates = read_templates(f"{prompts}#shape" if templates is None else templates)
        self._has_clips = shift == "jitter"

    def target(self, index: int) -> int:
        """Number of the shape."""
        return _SHAPES.index(self.source.scenes[index].picture.marks[0].what)

    def groups(self, index: int) -> Mapping[str, str]:
        """Of "jitter" the clip, and whether the frame is its anchor."""
        if not self._has_clips:
            return {}
        return {"clip": str(index // FRAMES), "anchor": str(index % FRAMES == _ANCHOR).lower()}


class _Shifted(Source):
    """The pictures of a shift, drawn when the first is asked for, without captions."""

    def __init__(self, shift: Shift, size: int, seed: int) -> None:
        self.name = f"shape_scenes_{shift}"
        self._arguments = (shift, size, seed)

    @functools.cached_property
    def scenes(self) -> Sequence[Scene]:
        """What is in each picture."""
        shift, size, seed = self._arguments
        return _SCENES.get(shift, _of_test)(size, seed)

    @functools.cached_property
    def _pictures(self) -> Pixels:
        return _LOOKS[self._arguments[0]]([scene.picture for scene in self.scenes])

    @property
    def fingerprint(self) -> str:
        """Hash of the version of the shifts and of the arguments."""
        return hashlib.sha256(repr(("ShapeShifts", _VERSION, *self._arguments)).encode()).hexdigest()

    @property
    def block_sizes(self) -> Sequence[int]:
        """One block."""
        return [self._arguments[1]]

    def read(self, index: int) -> RawSample:
        """A picture."""
        return RawSample(self._pictures[index].copy(), ())

    def captions(self) -> Iterator[str]:
        """None."""
        return iter(())


def _of_test(size: int, seed: int) -> list[Scene]:
    return [compose("test", index, seed) for index in range(size)]


def _resampled(size: int, seed: int) -> list[Scene]:
    return [compose("resample", index, seed) for index in range(size)]


def _rotated(size: int, seed: int) -> list[Scene]:
    def turned(scene: Scene) -> Scene:
        angle = stream(*scene.identity, _MOVES).uniform(-np.pi, np.pi)
        return _with_mark(scene, angle=float(angle))

    return [turned(scene) for scene in _of_test(size, seed)]


def _clips(size: int, seed: int) -> list[Scene]:
    """Each scene as an anchor in the middle of frames with noise of their own, in which its shape is elsewhere."""
    return [
        scene if frame == _ANCHOR else _moved(scene, frame)
        for scene in _of_test(size // FRAMES, seed)
        for frame in range(FRAMES)
    ]


def _moved(scene: Scene, frame: int) -> Scene:
    mark = scene.picture.marks[0]
    random = stream(*scene.identity, _MOVES + 1 + frame)
    reach = 1.1 * mark.radius
    x, y = np.clip(np.array([mark.x, mark.y]) + random.uniform(-_FAR, _FAR, 2), reach, SIDE - reach)
    moved = _with_mark(scene, x=float(x), y=float(y), angle=mark.angle + float(random.uniform(-0.1, 0.1)))
    noise = (*scene.identity, _MOVES + 1 + FRAMES + frame)
    return dataclasses.replace(moved, picture=dataclasses.replace(moved.picture, noise=noise))


def _with_mark(scene: Scene, **changes: Any) -> Scene:
    """The scene with its only mark changed."""
    [mark] = scene.picture.marks
    picture = dataclasses.replace(scene.picture, marks=(dataclasses.replace(mark, **changes),))
    return dataclasses.replace(scene, picture=picture)


def _hard(size: int, seed: int) -> list[Scene]:
    """The first scenes on which a linear model of the pixels, trained on a part of "probe_train", errs."""
    train = [compose("probe_train", index, seed) for index in range(_HARD_TRAINING)]
    weights = _ridge(_gradients(draw([scene.picture for scene in train])), train)
    found: list[Scene] = []
    start = 0
    while len(found) < size:
        scenes = [compose("hard", index, seed) for index in range(start, start + size)]
        guesses = (_gradients(draw([scene.picture for scene in scenes])) @ weights).argmax(axis=1)
        found += [scene for scene, guess in zip(scenes, guesses.tolist(), strict=True) if _SHAPES[guess] != _of(scene)]
        start += size
    return found[:size]


def _of(scene: Scene) -> str:
    return scene.picture.marks[0].what


def _gradients(pictures: Pixels) -> Float64[np.ndarray, "pictures features"]:
    """Brightness differences of neighbours, each 2x2 averaged, and a constant."""
    grey = pictures.astype(np.float64).mean(axis=3) / 255
    steps = np.abs(np.diff(grey, axis=1))[:, :, :-1] + np.abs(np.diff(grey, axis=2))[:, :-1]
    even = steps[:, : SIDE - 2, : SIDE - 2].reshape(len(grey), SIDE // 2 - 1, 2, SIDE // 2 - 1, 2).mean(axis=(2, 4))
    return np.concatenate([even.reshape(len(grey), -1), np.ones((len(grey), 1))], axis=1)


def _ridge(
    features: Float64[np.ndarray, "pictures features"], scenes: Sequence[Scene]
) -> Float64[np.ndarray, "features shapes"]:
    """Least squares to the shapes as one-hot vectors."""
    right = np.array([[shape == _of(scene) for shape in _SHAPES] for scene in scenes], np.float64)
    return np.linalg.solve(features.T @ features + np.eye(features.shape[1]), features.T @ right)


def _coarse(pictures: Sequence[Picture]) -> Pixels:
    cells = (
        draw(pictures).astype(np.float64).reshape(len(pictures), SIDE // _COARSE, _COARSE, SIDE // _COARSE, _COARSE, 3)
    )
    levels: Pixels = np.rint(cells.mean(axis=(2, 4))).astype(np.uint8)
    return levels.repeat(_COARSE, axis=1).repeat(_COARSE, axis=2)


_SCENES: dict[Shift, Callable[[int, int], list[Scene]]] = {
    "resample": _resampled,
    "rotate": _rotated,
    "hard": _hard,
    "jitter": _clips,
}
_LOOKS: dict[Shift, Callable[[Sequence[Picture]], Pixels]] = {
    **dict.fromkeys(("plain", "resample", "rotate", "hard", "jitter"), draw),
    "outline": functools.partial(draw, outline=True),
    "invert": lambda pictures: 255 - draw(pictures),
    "noise": functools.partial(draw, noise=_STRONG_NOISE),
    "lowres": _coarse,
}
