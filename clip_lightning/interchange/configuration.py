"""Configurations that lie beside weights: values of the right kind, and sizes that the weights have."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from itertools import count
from math import isfinite
from pathlib import Path
from typing import Any

from torch import Tensor

from clip_lightning.models.recognition import resnet_sizes, text_sizes, vit_sizes

_OF_LIBRARIES = ("image_encoder.model.", "text_encoder.model.")
"""How the names begin of tensors in towers of timm and transformers."""


class Section:
    """A part of a configuration, whose values are checked when they are taken.

    Args:
        values: The part.
        path: The file, for messages.
        prefix: Where in the file the part is, such as "vision_cfg.".
    """

    def __init__(self, values: Mapping[str, Any], path: Path, prefix: str = "") -> None:
        self.values = values
        self.path = path
        self.prefix = prefix

    def number(self, key: str, default: int) -> int:
        """A whole number above 0.

        Raises:
            ValueError: If it is none.
        """
        value = self.values.get(key, default)
        if type(value) is not int or value < 1:
            raise self._refusal(key, value, "a whole number above 0")
        return value

    def side(self, key: str, default: int) -> int:
        """Side of a square, in pixels: a number, or a height and a width that are one.

        Raises:
            ValueError: If it is none, with both numbers where they differ.
        """
        value = self.values.get(key, default)
        if isinstance(value, list) and len(value) == 2:
            height, width = (Section({key: number}, self.path, self.prefix).number(key, default) for number in value)
            if height != width:
                raise ValueError(
                    f"{self.path} has {self.prefix}{key} {value!r}, and images of {height} x {width} pixels cannot be "
                    "taken here: they are square"
                )
            return height
        return self.number(key, default)

    def rate(self, key: str) -> float | None:
        """A probability from 0 to below 1, if there is one.

        Raises:
            ValueError: If it is none.
        """
        value = self.values.get(key)
        if value is not None and (type(value) not in (int, float) or not 0 <= value < 1):
            raise self._refusal(key, value, "a probability from 0 to below 1")
        return value

    def text(self, key: str, default: str = "") -> str:
        """A text; null is an empty one.

        Raises:
            ValueError: If it is none.
        """
        value = self.values.get(key, default)
        if not isinstance(value, str | None):
            raise self._refusal(key, value, "a text")
        return value or ""

    def flag(self, key: str, default: bool) -> bool:
        """True or false.

        Raises:
            ValueError: If it is neither.
        """
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self._refusal(key, value, "true or false")
        return value

    def channels(self, keys: Iterable[str]) -> dict[str, tuple[float, ...]]:
        """Three numbers each, of the keys that there are; a standard deviation's are above 0.

        Raises:
            ValueError: If there are others.
        """
        found = {key: self.values[key] for key in keys if self.values.get(key) is not None}
        for key, value in found.items():
            is_three = isinstance(value, list) and len(value) == 3
            if not is_three or not all(type(number) in (int, float) and isfinite(number) for number in value):
                raise self._refusal(key, value, "three numbers, for red, green and blue")
            if key.endswith("std") and min(value) <= 0:
                raise self._refusal(key, value, "three numbers above 0: pixels are divided by them")
        return {key: tuple(value) for key, value in found.items()}

    def choice(self, key: str, default: Any, known: Collection[Any]) -> Any:
        """One of some values.

        Raises:
            ValueError: If it is another.
        """
        value = self.values.get(key, default)
        if isinstance(value, list | dict) or value not in known:
            raise self._refusal(key, value, f"one of {', '.join(map(repr, known))}")
        return value

    def _refusal(self, key: str, value: Any, wanted: str) -> ValueError:
        return ValueError(f"{self.path} has {self.prefix}{key} {value!r}, which is not {wanted}; correct the file")


def check_sizes(told: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path) -> None:
    """Makes sure that weights are those of the model that a configuration describes.

    Args:
        told: Sizes that the configuration has, by its keys; the values are pairs of a name that ``tensor_sizes`` gives,
            and what the configuration says, or None where it says nothing.
        tensors: Weights in this package's names.
        path: The configuration, for the message.

    Raises:
        ValueError: If sizes differ: each with both numbers.
    """
    found = tensor_sizes(tensors)
    known = {name.partition(".")[0] for name in found}
    faults = [
        f"{key} is {value!r}, and the weights have {found.get(name, 'none')}"
        for key, (name, value) in told.items()
        if value is not None and name.partition(".")[0] in known and value != found.get(name)
    ]
    if faults:
        raise ValueError(f"{path} is not of these weights: {'; '.join(faults)}; correct it, or take the weights' own")


def tensor_sizes(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Sizes of both towers, such as "image.width" and "text.depth"; none of a tower that is not the paper's.

    Args:
        tensors: Weights in this package's names.
    """
    image, text = vit_sizes(tensors) or resnet_sizes(tensors), text_sizes(tensors)
    towers = {"image": image or {}, "text": text or {}}
    sizes = {f"{tower}.{name}": value for tower, found in towers.items() for name, value in found.items()}
    projection = tensors.get("text_projection.weight")
    return sizes | ({} if projection is None or projection.ndim != 2 else {"embed_dim": len(projection)})


def check_layers(tensors: Mapping[str, Tensor], path: str) -> None:
    """Refuses weights that lack whole layers between others.

    Args:
        tensors: Weights in this package's names.
        path: The file, for the message.

    Raises:
        ValueError: If numbers in the names have a gap.
    """
    numbers: dict[str, set[str]] = defaultdict(set)
    for name in tensors:
        if name.startswith(_OF_LIBRARIES):  # whose layers without weights are numbered too
            continue
        parts = name.split(".")
        for depth, part in enumerate(parts):
            if part.isdecimal():
                numbers[".".join(parts[:depth])].add(part)
    for place, found in numbers.items():
        absent = next(number for number in map(str, count()) if number not in found)
        if len(found) > int(absent):
            raise ValueError(
                f"{path!r} is not whole: it lacks {place}.{absent}, and has "
                f"{', '.join(sorted(found, key=lambda part: (len(part), part)))} of {place}"
            )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        ValueError: If it holds none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object")
    return content
