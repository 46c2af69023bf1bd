"""Lists of templates and class names that installed packages have."""

import importlib
import re
from pathlib import Path
from typing import Any

from clip_lightning.spec import is_installed

_NAME = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)")


def is_packaged(name: Any) -> bool:
    """Whether a name is that of a list in a package, as ``open_clip:OPENAI_IMAGENET_TEMPLATES``, and no file has it."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None and not Path(name).exists()


def packaged(name: str) -> list[Any]:
    """A list or tuple of an installed package.

    Args:
        name: Its module, a colon, and what it is called there.

    Raises:
        ValueError: If the package is not installed, or has no such list.
    """
    module, _, attribute = name.partition(":")
    root = module.partition(".")[0]
    if not is_installed(root):
        raise ValueError(f"{name!r}: {root!r} is no installed package; install it, or name a file or a list")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{name!r} is not to be had: {error}") from None
    if not isinstance(found, list | tuple):
        raise ValueError(f"{name!r} is a {type(found).__name__}; it must be a list or a tuple")
    return list(found)
