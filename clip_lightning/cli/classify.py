"""Classifies images by the names of classes alone."""

import argparse
import csv
import io
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clip_lightning.cli.errors import UserError
from clip_lightning.cli.trained import (
    VerbParser,
    add_image_options,
    add_model_options,
    check_file,
    cut_line,
    open_model,
    unreadable_lines,
    workers,
)
from clip_lightning.data import CenterCrop, Damaged
from clip_lightning.data.class_names import SEPARATOR, NamedClass, distinct, read_class_names
from clip_lightning.files import write_atomically
from clip_lightning.inference.classify import Classified, classify
from clip_lightning.inference.features import ImagePass
from clip_lightning.inference.images import FoundImages, find_images, printable
from clip_lightning.inference.thumbnails import thumbnail
from clip_lightning.inference.zero_shot import cut_prompts
from clip_lightning.results import counted
from clip_lightning.text import fill_templates, read_templates

TEMPLATES = ("a photo of a {}.",)
_MOST_PHOTOS, _LINES = 40, 3

_WHAT = """Prints for each image the classes that it may show, the most probable first, as many as fit into a line.

  python -m clip_lightning classify --checkpoint runs/NAME/TIME/checkpoints/best.ckpt --images photos \\
      --classes "apple,pear,orange | mandarin" --output labels.csv --sheet labels.png
"""


def main(arguments: Sequence[str]) -> int:
    """Classifies.

    Args:
        arguments: Command line after the verb.

    Returns:
        Exit code; images that cannot be read are told of, and change nothing of it.

    Raises:
        UserError: If an option is not accepted.
        ValueError: If the model cannot tell two of the classes apart.
    """
    options = _parser().parse(arguments)
    check_file("--output", options.output, (".csv", ".json"))
    check_file("--sheet", options.sheet, (".png",))
    names = [one.names for one in read_classes(options.classes)]
    templates = list(TEMPLATES) if options.templates is None else read_templates(options.templates)
    source = find_images(options.images)
    num_workers = min(workers(options.num_workers), len(source) // options.batch_size if options.batch_size > 0 else 0)
    pretrained = open_model(options)
    prompts = fill_templates(names, templates)
    if cut := cut_prompts(pretrained.tokenizer, names, prompts):
        print(cut_line("prompt", cut, pretrained.tokenizer), file=sys.stderr)
    how = ImagePass(pretrained.model, CenterCrop.of(pretrained.model.pixels), options.batch_size, num_workers)
    found = classify(pretrained.scorer, how, source, prompts)
    first_names = [alternatives[0] for alternatives in names]
    print("\n".join(table(source, found, first_names)))
    if options.output is not None:
        _write(options, source, found, first_names, templates)
    if options.sheet is not None:
        _draw(options, source, found, first_names)
    _tell(options, source, found)
    return 0


def _parser() -> VerbParser:
    parser = VerbParser("classify", _WHAT)
    add_model_options(parser, "the model: a checkpoint of a run, or what else clip_lightning.load takes")
    add_image_options(parser)
    parser.add_argument(
        *("--classes",), required=True,
        help='names such as "cat,dog", further names of a class behind " | "; or a text file with a class a line',
    )  # fmt: skip
    parser.add_argument("--templates", type=Path, help=f"text file with a sentence a line; by default {TEMPLATES[0]!r}")
    parser.add_argument("--output", type=Path, help="table to write, .csv or .json, with every probability")
    parser.add_argument("--sheet", type=Path, help="picture to write, .png: the images with their classes")
    return parser


def read_classes(given: str) -> list[NamedClass]:
    """The classes of a command line: a file of them, or names with commas between.

    Raises:
        ValueError: If a name is empty or occurs twice, or the file cannot be read.
        UserError: If there is one class only.
    """
    is_file = Path(given).is_file() or ("," not in given and (given.endswith(".txt") or os.sep in given))
    if is_file:
        classes = read_class_names(Path(given))
    else:
        parts = [part.strip().split(SEPARATOR) for part in given.split(",")]
        classes = distinct(NamedClass(f"--classes {given!r}", names) for names in parts)
    if len(classes) < 2:
        raise UserError(f"--classes {given!r} names one class, which every image would be; name two at least")
    return classes


def table(source: FoundImages, found: Classified, names: Sequence[str]) -> list[str]:
    """A line for each image: its path, and the classes with their probabilities, as many as the terminal is wide.

    Args:
        source: The images.
        found: What is said of them.
        names: One name a class.
    """
    width = shutil.get_terminal_size((120, 24)).columns
    places = [printable(source.place(int(index))) for index in found.index]
    longest = max(width // 3, 24)
    columns = [[place if len(place) <= longest else "…" + place[1 - longest :] for place in places]]
    ranked = found.ranked()
    taken = max(map(len, columns[0]))
    for rank in range(len(names)):
        chosen = zip(ranked[:, rank], found.probabilities, strict=True)
        column = [f"{names[label]} {100 * row[label]:.1f} %" for label, row in chosen]
        taken += 2 + max(map(len, column))
        if rank and taken > width:
            break
        columns.append(column)
    widths = [max(map(len, column)) for column in columns]
    rows = zip(*columns, strict=True)
    return ["  ".join(cell.ljust(wide) for cell, wide in zip(row, widths, strict=True)).rstrip() for row in rows]


def _missing(source: FoundImages, found: Classified) -> list[tuple[str, str]]:
    return [(source.place(index), reason) for index, reason in sorted(found.missing.items())]


def _write(
    options: argparse.Namespace, source: FoundImages, found: Classified, names: Sequence[str], templates: list[str]
) -> None:
    """Writes a row for each image, those that could not be read included, in the order of the images."""
    rows: list[dict[str, Any]] = []
    by_index = dict(zip(found.index.tolist(), found.probabilities.tolist(), strict=True))
    for index in range(len(source)):
        row: dict[str, Any] = {"path": printable(source.place(index))}
        if index in by_index:
            own = by_index[index]
            best = int(np.argmax(own))
            row |= {"class": names[best], "probability": own[best], "probabilities": dict(zip(names, own, strict=True))}
        else:
            row["unreadable"] = found.missing[index]
        rows.append(row)
    if options.output.suffix.lower() == ".json":
        content = {"checkpoint": options.checkpoint, "classes": list(names), "templates": templates, "images": rows}
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    else:
        text = _csv(rows, names)
    write_atomically(options.output, text.encode())


def _csv(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    """The rows with a column for each class, which cannot be taken for one of the others."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["path", "class", "probability", "unreadable", *(f"p({name})" for name in names)])
    for row in rows:
        own = row.get("probabilities", {})
        cells = [row.get(name, "") for name in ("path", "class", "probability", "unreadable")]
        writer.writerow([*cells, *(own.get(name, "") for name in names)])
    return file.getvalue()


def _draw(options: argparse.Namespace, source: FoundImages, found: Classified, names: Sequence[str]) -> None:
    """Draws the images with their most probable classes; of very many, some that are spread evenly."""
    # matplotlib takes a second to import: only a sheet that is asked for pays for it.
    from clip_lightning.reports.figures import save
    from clip_lightning.reports.photos import Line, Photo, photo_sheet

    count = len(found.index)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _MOST_PHOTOS)).round().astype(int))
    ranked = found.ranked()
    photos = []
    for row in chosen.tolist():
        index, own = int(found.index[row]), found.probabilities[row]
        lines = [Line(names[label], f"{100 * own[label]:.0f} %", own[label]) for label in ranked[row, :_LINES]]
        try:
            image: Any = thumbnail(source.read(index).image)
        except Damaged as error:
            image = str(error)
        photos.append(Photo(image, printable(source.key(index)), lines))
    some = f"{len(photos)} of {count:,} images, spread evenly," if len(photos) < count else f"{count} images"
    facts = [("model", options.checkpoint), ("classes", _some(names))]
    save(photo_sheet(photos, f"{some} and their most probable classes of {len(names)}", facts), options.sheet)


def _some(names: Sequence[str], letters: int = 100) -> str:
    """Names, as many as fit into a line."""
    text = ", ".join(names)
    return text if len(text) <= letters else text[:letters].rpartition(", ")[0] + ", …"


def _tell(options: argparse.Namespace, source: FoundImages, found: Classified) -> None:
    """Says what was left out, how many there were, and what was written."""
    for line in unreadable_lines(_missing(source, found), str(options.output or "")):
        print(line, file=sys.stderr)
    if source.left_out:
        print(f"left out: {source.left_out}", file=sys.stderr)
    print(f"\n{counted(len(found.index), 'image')} classified, {len(found.missing):,} unreadable")
    for path in (options.output, options.sheet):
        if path is not None:
            print(path)
