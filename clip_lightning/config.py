"""Configurations as plain data: reading, laying one over another, comparing, writing. No torch, and no parser.

There is one rule, for files and arguments alike: a mapping with another ``class_path`` replaces, any other mapping
merges. A parser that overlays files itself keeps arguments of the class that was replaced.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from clip_lightning.refusal import did_you_mean

Config = dict[str, Any]


class _Loader(yaml.SafeLoader):
    """YAML with numbers such as 1e-3 read as numbers, and a key given twice refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes texts that ``_Loader`` would read as numbers."""


for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(\d[\d_]*)?\.?\d+([eE][-+]?\d+)$"),
        list("-+0123456789."),
    )


def read_config(path: str | Path) -> Config:
    """Reads one YAML file.

    Args:
        path: The file.

    Returns:
        Its mapping; empty for an empty file.

    Raises:
        ValueError: If it is missing or no YAML mapping; with the line where that is known.
    """
    path = Path(path)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise ValueError(f"config file {str(path)!r} does not exist{did_you_mean(path)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"config file {str(path)!r} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}" if mark else ""
        raise ValueError(f"config file {str(path)!r}{place}: {getattr(error, 'problem', error)}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"config file {str(path)!r} holds a {type(content).__name__}, not a mapping of keys")
    return content


def read_text(text: str) -> Any:
    """Plain data of YAML text, read as ``read_config`` reads files."""
    return yaml.load(text, _Loader)


def merge(base: Any, over: Any) -> Any:
    """Lays one configuration over another.

    Args:
        base: Plain data.
        over: Plain data that takes precedence.

    Returns:
        ``over`` merged into ``base`` by the rule of this module; neither is changed.
    """
    if not (isinstance(base, Mapping) and isinstance(over, Mapping)):
        return over
    if "class_path" in over and over["class_path"] != base.get("class_path", over["class_path"]):
        return over
    return {**base, **{key: merge(base[key], value) if key in base else value for key, value in over.items()}}


def set_by_path(config: Config, path: str, value: Any) -> Config:
    """Sets one dotted key, as ``--key value`` does.

    A key inside of a part may leave out ``init_args``, and a part may be given by its class alone.

    Args:
        config: Plain data.
        path: Dotted key, such as "model.image_encoder.depth".
        value: Plain data.

    Returns:
        The configuration with the value merged in; the given one is not changed.
    """
    changed: Config = _set(config, path.split("."), value)
    return changed


def _set(here: Any, names: list[str], value: Any) -> Any:
    if not names:
        return merge(here, value)
    if isinstance(here, str):
        here = {"class_path": here}
    here = here if isinstance(here, Mapping) else {}
    name, *rest = names
    if name == "class_path":
        return merge(here, {"class_path": value})
    if "class_path" in here and name not in ("init_args", "dict_kwargs"):
        name, rest = "init_args", names
    return {**here, name: _set(here.get(name), rest, value)}


def differing_keys(left: Any, right: Any, prefix: str = "") -> list[str]:
    """Dotted keys at which two configurations differ, sorted; one that is not there is null."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        keys = sorted({*left, *right}, key=str)
        return [
            found
            for key in keys
            for found in differing_keys(left.get(key), right.get(key), f"{prefix}.{key}" if prefix else str(key))
        ]
    if None in (left, right) and isinstance(given := left or right, Mapping):
        # A group of keys that an earlier version did not have.
        return [prefix] if differing_keys({}, given) else []
    return [] if left == right else [prefix]


def to_yaml(config: Config) -> str:
    """A configuration as text that ``read_config`` reads back."""
    return yaml.dump(config, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
