"""Lists of templates and class names that installed packages have."""

import importlib
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

from clip_lightning.spec import is_installed

_NAME = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*|[\w./-]+\.json#[\w/-]+)")


def is_packaged(name: Any) -> bool:
    """Whether a name is that of a list in a package, as ``open_clip:OPENAI_IMAGENET_TEMPLATES``, and no file has it.

    A list may also be an entry of a JSON file in a package, as ``clip_benchmark:datasets/en_classnames.json#eurosat``.
    """
    return isinstance(name, str) and _NAME.fullmatch(name) is not None and not Path(name).exists()


def packaged(name: str) -> list[Any]:
    """A list or tuple of an installed package.

    Args:
        name: Its module, a colon, and what it is called there; or a package, a colon, a JSON file in it, "#" and a key.

    Raises:
        ValueError: If the package is not installed, or has no such list.
    """
    module, _, attribute = name.partition(":")
    root = module.partition(".")[0]
    if not is_installed(root):
        package = root.replace("_", "-")
        raise ValueError(f"{name!r}: {root!r} is no installed package; pip install {package}, or name a file or a list")
    try:
        file, is_file, key = attribute.partition("#")
        found = _entries(module, file)[key] if is_file else getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, KeyError, OSError) as error:
        raise ValueError(f"{name!r} is not to be had: {error}") from None
    if not isinstance(found, list | tuple):
        raise ValueError(f"{name!r} is a {type(found).__name__}; it must be a list or a tuple")
    return list(found)


def _entries(package: str, file: str) -> dict[str, Any]:
    entries: dict[str, Any] = json.loads(package_file(package, file).read_text("utf-8"))
    return entries


def package_file(package: str, file: str) -> Path:
    """A data file of an installed package, which is not imported unless it is in another one.

    Raises:
        ImportError: If there is no such package.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"no package {package!r}")
    return Path(next(iter(spec.submodule_search_locations)), file)
