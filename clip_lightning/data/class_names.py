"""Names of classes as a configuration or a text file gives them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clip_lightning.text import numbered_lines
from clip_lightning.text.packaged import is_packaged, packaged

SEPARATOR = " | "


class NamedClass(NamedTuple):
    """The names of a class and where they were read.

    Args:
        place: Path and line, or position in a list, for messages.
        names: One or several names.
    """

    place: str
    names: list[str]


def read_class_names(class_names: Sequence[str | list[str]] | str | Path) -> list[NamedClass]:
    """Names of classes in the order of their labels.

    Args:
        class_names: A name or a list of names for each class, or a text file with a class a line, whose names are
            separated by " | "; or the name of a list in an installed package, such as
            ``torchvision.models._meta:_VOC_CATEGORIES``.

    Raises:
        ValueError: If a name is empty or occurs twice, or the file cannot be read, with the place.
    """
    if isinstance(class_names, str | Path) and is_packaged(class_names):
        listed = enumerate(packaged(str(class_names)))
        return distinct(named(f"{class_names}[{number}]", names) for number, names in listed)
    if isinstance(class_names, str | Path):
        lines = numbered_lines(class_names)
        return distinct(NamedClass(f"{class_names}:{number}", line.split(SEPARATOR)) for number, line in lines)
    return distinct(named(f"class_names[{number}]", names) for number, names in enumerate(class_names))


def named(place: str, names: Any) -> NamedClass:
    """A class by a name or a list of names."""
    return NamedClass(place, list(names) if isinstance(names, list | tuple) else [names])


def distinct(classes: Iterable[NamedClass]) -> list[NamedClass]:
    """The classes as they are.

    Raises:
        ValueError: If a class has no name, a name is empty, or one occurs twice, with the place.
    """
    classes = list(classes)
    for place, names in classes:
        if not names:
            raise ValueError(f"{place}: a class has no name; give it one at least")
        for name in names:
            if not isinstance(name, str) or not name.strip():
                raise ValueError(f"{place}: class name {name!r} must be a text that is not empty")
    counts = Counter(name for _, names in classes for name in names)
    for place, names in reversed(classes):
        for name in names:
            if counts[name] > 1:
                raise ValueError(f"{place}: class name {name!r} occurs {counts[name]} times; make the names distinct")
    return classes
