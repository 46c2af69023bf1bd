"""How many objects are on the pictures of CLEVR."""

from pathlib import Path
from typing import Literal

import numpy as np

from clip_lightning.data.class_names import NamedClass, read_class_names
from clip_lightning.data.image_files import ImageFiles
from clip_lightning.data.json_files import read_json
from clip_lightning.data.labelled import LabelledDataset
from clip_lightning.text import read_templates

_WORDS = dict(zip(("three", "four", "five", "six", "seven", "eight", "nine", "ten"), range(3, 11), strict=True))
_FEWEST, _MOST = 3, 10


class ClevrCounts(LabelledDataset):
    """Pictures of three to ten objects, in the layout of the release.

    Names are told by the number that they say: CLIP's authors list them sorted as texts, "10" before "3".

    Args:
        path: The release's ``CLEVR_v1.0`` folder with ``images`` and ``scenes``.
        split: "train" or "val"; the release has no labels of its test pictures.
        class_names: As ``read_class_names`` takes them: the numerals 3 to 10, or their English words, in any order.
        templates: As ``read_templates`` takes them.

    Raises:
        ValueError: If files are missing or not as the release has them, or the names are not these numbers.

    Source: Johnson et al. 2017 (CLEVR, arXiv 1612.06890).
    """

    def __init__(
        self,
        path: str | Path,
        class_names: list[str | list[str]] | str | Path,
        templates: list[str] | str | Path,
        split: Literal["train", "val"] = "val",
    ) -> None:
        path = Path(path)
        scenes = path / "scenes" / f"CLEVR_{split}_scenes.json"
        content = read_json(scenes)
        try:
            counts = {one["image_filename"]: len(one["objects"]) for one in content["scenes"]}
        except (TypeError, KeyError):
            raise ValueError(f"{scenes} is not as CLEVR releases it; unpack it again") from None
        if not counts or min(counts.values()) < _FEWEST or max(counts.values()) > _MOST:
            raise ValueError(f"{scenes} has scenes without {_FEWEST} to {_MOST} objects, which CLEVR has not")
        names = {_number(one): one.names for one in read_class_names(class_names)}
        if sorted(names) != list(range(_FEWEST, _MOST + 1)):
            raise ValueError(f"class_names are of the numbers {sorted(names)}; give one for each from 3 to 10")
        self.class_names = [names[number] for number in sorted(names)]
        self.templates = read_templates(templates)
        self.name, self.split = "clevr_counts", split
        self._labels = np.array([counts[image] - _FEWEST for image in sorted(counts)], dtype=np.int64)
        self.source = ImageFiles(path, (f"images/{split}/{image}" for image in sorted(counts)), self.name)

    def target(self, index: int) -> int:
        """Number of objects, less 3."""
        return int(self._labels[index])


def _number(one: NamedClass) -> int:
    """The number that a class's first name says."""
    name = one.names[0]
    number = int(name) if name.isdecimal() else _WORDS.get(name)
    if number is None:
        raise ValueError(f"{one.place}: {name!r} is neither a numeral nor one of {', '.join(_WORDS)}")
    return number
