"""Published figures, read from this package's tables."""

import csv
import functools
import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any, NamedTuple

_TABLES = files("clip_lightning.reference")


class Published(NamedTuple):
    """One published figure.

    Args:
        model: Name of the model in its table, such as "ViT-B/32".
        evaluator: What was measured: "zero_shot", "linear_probe" or "retrieval".
        source: Data set, such as "food101".
        metric: Such as "accuracy".
        n: Number of evaluated samples.
        value: The figure as a fraction, 0-1.
        protocol: What else determines it: the stage of a probe's features, the prefix of captions, digests of class
            names and templates.
        table: Where it was published.
        confidence: What is to be known of its transcription; empty where it was read from the source itself.
    """

    model: str
    evaluator: str
    source: str
    metric: str
    n: int
    value: float
    protocol: Mapping[str, str]
    table: str
    confidence: str


@functools.cache
def published() -> tuple[Published, ...]:
    """All published figures that the package knows.

    Source: the tables that ``clip_lightning/reference/README.md`` names.
    """
    tables = json.loads(_TABLES.joinpath("tables.json").read_text(encoding="utf-8"))
    return tuple(figure for table in tables for figure in _figures(table))


@functools.cache
def published_models() -> tuple[str, ...]:
    """Names of the models of which figures are known."""
    return tuple(dict.fromkeys(figure.model for figure in published()))


@functools.cache
def titles() -> Mapping[str, str]:
    """Data sets as the paper writes them, by the names that results have."""
    return {name: row["title"] for name, row in _data_sets().items()}


def _figures(table: Mapping[str, Any]) -> Iterator[Published]:
    """Rows of one table: a line a figure, or a line a model with a column for each data set."""
    for line in _read(table["file"]):
        if "value" in line:
            cells = {line["source"]: line}
        else:
            cells = {source: {**_data_sets()[source], "value": line[source]} for source in line if source != "model"}
        for source, cell in cells.items():
            yield Published(
                line["model"],
                table["evaluator"],
                source,
                cell["metric"],
                int(cell["n"]),
                float(cell["value"]) / 100,
                {**table["protocol"], **(_prompts(cell) if table["evaluator"] == "zero_shot" else {})},
                table["table"],
                table["confidence"],
            )


def _prompts(cell: Mapping[str, str]) -> dict[str, str]:
    return {"class_names": cell["class_names_sha256"], "templates": cell["templates_sha256"]}


@functools.cache
def _data_sets() -> dict[str, dict[str, str]]:
    return {row["source"]: row for row in _read("data_sets.csv")}


def _read(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(_TABLES.joinpath(name).read_text(encoding="utf-8").splitlines()))
