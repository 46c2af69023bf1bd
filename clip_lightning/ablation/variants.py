"""What differs between the variants of a study, written as it would be on the command line of ``fit``."""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from clip_lightning.config import Config, merge, read_config, set_by_path

Options = list[tuple[str, Any]]
"""Keys and values in their order, as ``--key value``; the key "config" has files for values."""


def paths_of(given: Any, key: str) -> list[str]:
    """Files that may be given as a list or, if it is one, alone.

    Raises:
        ValueError: If they are no texts.
    """
    paths = [given] if isinstance(given, str) else given
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise ValueError(f"{key} is {given!r}; give one file or a list of files")
    return paths


def expand(variants: Any, axes: Any) -> dict[str, Options]:
    """Names the variants of a study, and says what each one changes.

    Args:
        variants: Mapping of names to options, or to files.
        axes: Mapping of keys to lists of values, or to mappings of labels to values; all combinations are variants, of
            each of ``variants`` if there are some.

    Returns:
        Options by the variant's name.

    Raises:
        ValueError: If there are fewer than two, or something is no mapping.
    """
    named = {str(name): _options(str(name), given) for name, given in _mapping(variants, "variants").items()}
    combined = dict(_combinations(_mapping(axes, "axes")))
    if named and combined:
        found = {f"{name}, {label}": a + b for name, a in named.items() for label, b in combined.items()}
    else:
        found = named or combined
    if len(found) < 2:
        raise ValueError(
            f"the study has {len(found)} variants; give two or more in variants: {{NAME: {{KEY: VALUE}}, ...}}, or as "
            "axes: {KEY: [VALUE, ...]}"
        )
    return found


def lay_over(config: Config, options: Options) -> Config:
    """Composes a configuration by the rule of ``fit``.

    Args:
        config: What lies below.
        options: What is laid over it.

    Returns:
        The configuration; the given one is not changed.

    Raises:
        ValueError: If a file is missing or no YAML mapping.
    """
    for key, value in options:
        if key == "config":
            for path in paths_of(value, key):
                config = merge(config, read_config(path))
        else:
            config = set_by_path(config, key, value)
    return config


def _mapping(given: Any, key: str) -> Mapping[Any, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ValueError(f"{key} is {given!r}; give a mapping")
    return given


def _options(name: str, given: Any) -> Options:
    """Options of one variant, which may be files alone."""
    if isinstance(given, str | list):
        given = {"config": given}
    return [(str(key), value) for key, value in _mapping(given, f"variants.{name}").items()]


def _combinations(axes: Mapping[Any, Any]) -> Iterator[tuple[str, Options]]:
    """All combinations of the axes' values, the last axis changing fastest."""
    if not axes:
        return
    points = [list(_points(str(key), values)) for key, values in axes.items()]
    for combination in itertools.product(*points):
        yield ", ".join(label for label, _ in combination), [option for _, option in combination]


def _points(key: str, values: Any) -> Iterator[tuple[str, tuple[str, Any]]]:
    """The values of an axis with their labels."""
    if isinstance(values, Mapping):
        yield from ((str(label), (key, value)) for label, value in values.items())
    elif isinstance(values, list) and values:
        for value in values:
            label = Path(str(value)).stem if key == "config" else f"{key.rpartition('.')[2]}={value}"
            yield label, (key, value)
    else:
        raise ValueError(f"axes.{key} is {values!r}; give a list of values, or a mapping of labels to values")
