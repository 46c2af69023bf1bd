"""Class names and templates of many data sets in one Markdown file, as the authors of CLIP publish theirs."""

import ast
import re
from pathlib import Path
from typing import Any, Literal

_NAME = re.compile(r"(.+\.md)#(\w+)")
_SECTION = re.compile(r"^## (.+?)\s*\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def is_section(name: Any) -> bool:
    """Whether a name is that of a section of such a file, as ``data/prompts.md#Food101``."""
    return isinstance(name, str | Path) and _NAME.fullmatch(str(name)) is not None


def read_section(name: str | Path, what: Literal["classes", "templates"]) -> list[Any]:
    """A list of a section: ``classes``, whose items are a name or a list of names, or ``templates``.

    A section begins with ``## NAME`` and holds ``classes = [...]`` and ``templates = [...]`` as Python writes lists.

    Args:
        name: Path of the file, "#" and the name of the section.
        what: Which of its lists.

    Raises:
        ValueError: If the file, the section or the list is missing or not well formed.

    Source: https://github.com/openai/CLIP/blob/main/data/prompts.md, 26 of the paper's 27 data sets.
    """
    path, section = _parts(name)
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ValueError(
            f"cannot read the prompts {path}: {reason}; for the prompts of CLIP's authors, save "
            "https://raw.githubusercontent.com/openai/CLIP/main/data/prompts.md there"
        ) from None
    sections = dict(_SECTION.findall(text))
    if section not in sections:
        raise ValueError(f"{path} has no section {section!r}; it has {', '.join(sections) or 'none'}")
    found = re.search(rf"^{what} = (\[.*?^\])", sections[section], re.MULTILINE | re.DOTALL)
    try:
        items = ast.literal_eval(found[1]) if found else None
    except (ValueError, SyntaxError):
        items = None
    if not items:
        raise ValueError(f"section {section!r} of {path} has no list '{what} = [...]' that Python could read")
    return list(items)


def _parts(name: str | Path) -> tuple[str, str]:
    match = _NAME.fullmatch(str(name))
    assert match is not None, name
    return match[1], match[2]
