"""Composes one configuration from files and from ``--key value`` arguments, before any parser sees it.

There is one rule, for files and arguments alike: a mapping with another ``class_path`` replaces, any other mapping
merges. A parser that overlays files itself keeps arguments of the class that was replaced.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

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
        raise ValueError(f"config file {str(path)!r} does not exist{_nearest_file(path)}") from None
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


def _nearest_file(path: Path) -> str:
    folder = path.parent if path.parent.is_dir() else Path()
    near = difflib.get_close_matches(path.name, [item.name for item in folder.glob("*.yaml")], n=1)
    return f"; did you mean {str(folder / near[0])!r}?" if near else ""


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


def compose(
    arguments: Sequence[str], known_keys: Sequence[str], defaults: Config | None = None
) -> tuple[Config, list[str]]:
    """Merges ``--config`` files and ``--key value`` arguments, in the order given.

    Args:
        arguments: What follows the verb.
        known_keys: Top-level keys; ``--key`` and ``--key.more`` belong to the configuration.
        defaults: Configuration below all files.

    Returns:
        The merged configuration, and the arguments that are none of it, such as ``--help``.

    Raises:
        ValueError: If a file is missing, a value is missing, or a key is unknown.
    """
    config: Config = dict(defaults or {})
    rest: list[str] = []
    pending = list(arguments)
    while pending:
        argument = pending.pop(0)
        if not argument.startswith("--") or is_flag(argument):
            rest.append(argument)
            continue
        key, has_value, text = argument[2:].partition("=")
        _check_top_level(key, known_keys)
        if not has_value:
            if not pending or (pending[0].startswith("--") and len(pending[0]) > 2):
                raise ValueError(f"--{key} needs a value")
            text = pending.pop(0)
        if not text:
            raise ValueError(f"--{key} is empty; give a value, or null for none")
        config = (
            merge(config, read_config(text)) if key == "config" else set_by_path(config, key, _parse_value(key, text))
        )
    return config, rest


def is_flag(argument: str) -> bool:
    """Whether an argument asks for help or the completed configuration."""
    return (
        argument in ("--help", "-h")
        or argument.startswith("--print_config")
        or argument.partition("=")[0].endswith(".help")
    )


def _check_top_level(key: str, known_keys: Sequence[str]) -> None:
    top = key.partition(".")[0]
    if top not in known_keys:
        near = difflib.get_close_matches(top, known_keys, n=1)
        remedy = f"did you mean --{near[0]}?" if near else f"known are {', '.join('--' + name for name in known_keys)}"
        raise ValueError(f"--{top} is not a known option; {remedy}")


def _parse_value(key: str, text: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"--{key} {text!r} is not valid YAML: {getattr(error, 'problem', error)}") from None


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
