"""Prompt templates, and the text files that hold templates or names."""

from collections.abc import Callable, Sequence
from pathlib import Path

from clip_lightning.refusal import did_you_mean
from clip_lightning.text.packaged import is_packaged, packaged
from clip_lightning.text.prompt_file import is_section, read_section

PLACEHOLDER = "{}"


def fill(template: str, name: str) -> str:
    """Puts a class name into a template: ``fill("a photo of a {}.", "dog")`` is ``"a photo of a dog."``.

    Raises:
        ValueError: If the template has no placeholder.
    """
    if PLACEHOLDER not in template:
        raise ValueError(
            f"template {template!r} has no place for the name; write {PLACEHOLDER} where it goes, "
            f"or {PLACEHOLDER!r} alone if the names are the whole prompts"
        )
    # Not str.format: a name may contain braces.
    return template.replace(PLACEHOLDER, name)


def as_template(template: str | Callable[[str], str]) -> str:
    """A sentence with ``{}`` for the name, from any of the forms in use.

    Args:
        template: A sentence with ``{}``, or with ``{c}`` as clip-benchmark has it, or a function of the name as
            open_clip has it. ``"{}"`` alone is for class names that are whole sentences.

    Raises:
        ValueError: If it has no place for the name.
    """
    sentence = template(PLACEHOLDER) if callable(template) else template.replace("{c}", PLACEHOLDER)
    fill(sentence, "")
    return sentence


def fill_templates(
    class_names: Sequence[str | Sequence[str]], templates: Sequence[str | Callable[[str], str]]
) -> list[list[str]]:
    """Puts every name of a class into every template.

    Args:
        class_names: One name or several a class.
        templates: Templates in any form that ``as_template`` takes.

    Returns:
        The prompts of each class.

    Raises:
        ValueError: If there is no template, or one has no place for the name.
    """
    if not templates:
        raise ValueError('no templates to put the class names into; "{}" alone uses the bare names')
    sentences = [as_template(template) for template in templates]
    names_of_classes = [[names] if isinstance(names, str) else names for names in class_names]
    return [[fill(template, name) for name in names for template in sentences] for names in names_of_classes]


def numbered_lines(path: str | Path) -> list[tuple[int, str]]:
    """Entries of a text file with one a line, and their line numbers from 1.

    Blank lines and lines that begin with ``#`` are comments.

    Raises:
        ValueError: If the file is missing, is not UTF-8 or has no entries, with its path.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}{did_you_mean(path)}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from None
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not lines:
        raise ValueError(f"{path} has no entries; write one a line")
    return lines


def read_lines(path: str | Path) -> list[str]:
    """Entries of a text file with one a line; blank lines and lines that begin with ``#`` are comments.

    Raises:
        ValueError: As ``numbered_lines``.
    """
    return [line for _, line in numbered_lines(path)]


def read_templates(templates: Sequence[str | Callable[[str], str]] | str | Path) -> list[str]:
    """Templates from a list, from a text file with one a line, or from a package.

    Args:
        templates: Templates in any form that ``as_template`` takes, or the path of a file of them, or the name of a
            list in an installed package, such as ``open_clip:OPENAI_IMAGENET_TEMPLATES``; or a section of a file as
            the authors of CLIP have it, such as ``data/prompts.md#Food101``.

    Returns:
        Sentences with a ``{}`` each.

    Raises:
        ValueError: If a template has no placeholder (with its file and line), or there are none.
    """
    placed: list[tuple[str, str | Callable[[str], str]]]
    if is_packaged(templates):
        placed = [(f"{templates}: ", template) for template in packaged(str(templates))]
    elif isinstance(templates, str) and ("{}" in templates or "{c}" in templates):
        raise ValueError(f"templates is one sentence, {templates!r}; give a list of them, [{templates!r}]")
    elif is_section(templates):
        placed = [(f"{templates}: ", one) for one in read_section(str(templates), "templates")]
    elif isinstance(templates, str | Path):
        placed = [(f"{templates}:{number}: ", line) for number, line in numbered_lines(templates)]
    else:
        placed = [("", template) for template in templates]
    if not placed:
        raise ValueError(f'templates is an empty list; "{PLACEHOLDER}" alone uses the bare names')
    return [_read(template, place) for place, template in placed]


def _read(template: str | Callable[[str], str], place: str) -> str:
    try:
        return as_template(template)
    except ValueError as error:
        raise ValueError(f"{place}{error}") from None
