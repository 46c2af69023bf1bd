"""Documents as pages: HTML that needs nothing beside itself, and Markdown."""

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from clip_lightning.files import write_atomically
from clip_lightning.reports.document import Block, Document, Facts, Folded, Plot, Table

_KINDS: dict[type, str] = {str: "text", Table: "table", Plot: "plot", Folded: "folded", Facts: "facts"}


def write_report(folder: Path, document: Document) -> list[Path]:
    """Writes ``report.html`` and ``report.md``, each complete or not at all.

    Args:
        folder: Where to; it exists.
        document: The report.

    Returns:
        The two files.
    """
    contents = {folder / "report.html": to_html(document), folder / "report.md": to_markdown(document)}
    for path, content in contents.items():
        write_atomically(path, content.encode())
    return list(contents)


def to_html(document: Document) -> str:
    """A page that opens without a network: style and pictures are in it, scripts are not."""
    return _environment(escape=True).get_template("document.html").render(document=document)


def to_markdown(document: Document) -> str:
    """The same without the pictures, of which the captions remain."""
    text = _environment(escape=False).get_template("document.md").render(document=document)
    return _without_empty_runs(text)


def _environment(*, escape: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("clip_lightning.reports", "templates"),
        autoescape=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = _data_uri
    environment.filters["cell"] = _markdown_cell
    environment.tests.update({kind: _is_of(kind) for kind in _KINDS.values()})
    return environment


def _is_of(kind: str) -> Any:
    def test(block: Block) -> bool:
        return _KINDS[type(block)] == kind

    return test


def _data_uri(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def _markdown_cell(text: str) -> str:
    """Text that stays within its cell and is no markup."""
    for character in "\\`*_[]<>|#":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())


def _without_empty_runs(text: str) -> str:
    """One empty line where templates leave several."""
    lines: list[str] = []
    for line in text.splitlines():
        if line.strip() or (lines and lines[-1]):
            lines.append(line.rstrip())
    return "\n".join(lines).strip() + "\n"
