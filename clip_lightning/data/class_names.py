"""Names of classes as a configuration or a text file gives them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clip_lightning.text import numbered_lines
from clip_lightning.text.packaged import is_packaged, packaged
from clip_lightning.text.prompt_file import is_section, read_section

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
            ``torchvision.models._meta:_VOC_CATEGORIES``; or a section of a file as the authors of CLIP have it, such as
            ``data/prompts.md#Food101``.

    Raises:
        ValueError: If a name is empty or occurs twice, or the file cannot be read, with the place.
    """
    if is_packaged(class_names) or is_section(class_names):
        path = str(class_names)
        listed = packaged(path) if is_packaged(path) else read_section(path, "classes")
        return distinct(named(f"{path}[{number}]", names) for number, names in enumerate(listed))
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


def in_own_order(given: list[NamedClass], own: Sequence[str], what: str) -> list[NamedClass]:
    """Names of classes in the order of the labels, which the data set's own names tell.

    Lists of prompts do not always have the order of the labels: some are sorted as texts, others by kind. Where the own
    names are the same words, in any order, they say which is which.

    Args:
        given: Names that were given for the classes.
        own: How the data set itself calls each of them.
        what: Name of the data set, for messages.

    Raises:
        ValueError: If there is another number of names, or one stands for a class that the data set has elsewhere.
    """
    if len(own) != len(given):
        raise ValueError(f"class_names has {len(given)} classes, but {what} has {len(own)}")
    place = {_letters(name): position for position, one in enumerate(given) for name in one.names}
    found = [place.get(_letters(name)) for name in own]
    if sorted(position for position in found if position is not None) == list(range(len(own))):
        return [given[position] for position in found if position is not None]
    for label, position in enumerate(found):
        if position is not None and position != label:
            raise ValueError(
                f"{given[position].place}: {given[position].names[0]!r} stands for label {position}, but {what} calls "
                f"label {label} {own[label]!r}; put the names into the order {list(own)[:5]}..."
            )
    return given


def _letters(name: str) -> str:
    """What two spellings of a name have in common."""
    return "".join(letter for letter in name.lower() if letter.isalnum())
