"""Composes one configuration from files and from ``--key value`` arguments, before any parser sees it."""

import difflib
from collections.abc import Sequence
from typing import Any

import yaml

from clip_lightning.config import Config, merge, read_config, read_text, set_by_path


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
        return read_text(text)
    except yaml.YAMLError as error:
        raise ValueError(f"--{key} {text!r} is not valid YAML: {getattr(error, 'problem', error)}") from None
