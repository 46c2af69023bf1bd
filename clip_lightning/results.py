"""Typed rows of results, and the file that holds them. No torch."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from clip_lightning.files import write_atomically

FORMAT = 1


@dataclass(frozen=True)
class Result:
    """One measured figure, with what is needed to believe it.

    Args:
        name: Key ``<evaluator>/<dataset>/<metric>``; the stage is put before it where it is logged.
        value: The figure; accuracies are fractions, 0-1.
        interval: 95 % confidence interval, or None where none is defined.
        method: How the interval was made, such as "wilson".
        n: Number of evaluated samples.
        missing: Number of samples that could not be evaluated, and are not in ``n``.
        metric: Name of the metric, such as "accuracy".
        protocol: What else determines the figure: classes, templates, split.
        source: Name of the data set.
        items: What each sample gives, for paired comparisons; the value is their mean. Not written to
            ``results.json``, as little as the two that say more of them.
        details: What a page draws beside the figure, such as a curve or the classes, as plain data; its "kind" says
            which of these.
        model: Which of several models it is of; empty where there is one.
        strata: Class of each item where the value is the mean over classes of their means.
        clusters: What each item depends on together with others, such as the image of a caption.
        unit: Of the value, such as "nats", in the plural; empty for fractions and their differences, in percent.
    """

    name: str
    value: float
    interval: tuple[float, float] | None
    method: str
    n: int
    missing: int
    metric: str
    protocol: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    items: np.ndarray | None = None
    details: dict[str, Any] | None = None
    model: str = ""
    strata: np.ndarray | None = None
    clusters: np.ndarray | None = None
    unit: str = ""


@dataclass(frozen=True)
class Comparison:
    """One model against another on the same samples.

    Args:
        name: Name of the result, as of both models.
        model: The one.
        baseline: The other.
        difference: Value of the first less that of the second.
        interval: 95 % confidence interval of the difference, paired by sample.
        p_value: Probability of so large a difference, or a larger one, between equal models; None where no test fits.
        method: How interval and probability were made.
        n: Number of samples that both were measured on.
        unit: Of the difference, as of both values.
    """

    name: str
    model: str
    baseline: str
    difference: float
    interval: tuple[float, float] | None
    p_value: float | None
    method: str
    n: int
    unit: str = ""


class Unreadable(NamedTuple):
    """Why samples of a data set could not be evaluated.

    Args:
        source: Name of the data set.
        reasons: Number of its images by reason, of all its parts that were read.
        model: Which of several models should have seen them; empty where there is one.
    """

    source: str
    reasons: Mapping[str, int]
    model: str = ""


class Match(NamedTuple):
    """One image and its candidate captions, the most probable first.

    Args:
        image: Pixels, as the model saw them.
        captions: Candidates.
        scores: Probability of each, 0-1.
        correct: Whether each belongs to this image.
    """

    image: UInt8[np.ndarray, "height width 3"]
    captions: Sequence[str]
    scores: Sequence[float]
    correct: Sequence[bool]


def write_results(
    path: str | Path,
    rows: Sequence[Result],
    comparisons: Sequence[Comparison] = (),
    unreadable: Sequence[Unreadable] = (),
) -> None:
    """Writes rows as strict JSON, complete or not at all: ``{"format": 1, "results": [...]}``.

    ``"comparisons"`` and ``"unreadable"`` follow where there are any.

    JSON has no NaN and no infinity; they are written as the strings "nan", "inf" and "-inf", which lose nothing.

    Args:
        path: File to write or replace; its folder exists.
        rows: Results in the order in which they are to be read.
        comparisons: What was compared between models.
        unreadable: Why samples are missing.
    """
    names = [item.name for item in fields(Result) if item.name not in ("items", "strata", "clusters")]
    content: dict[str, Any] = {"format": FORMAT}
    content["results"] = [{name: _plain(getattr(row, name)) for name in names} for row in rows]
    if comparisons:
        content["comparisons"] = [_plain(asdict(one)) for one in comparisons]
    if unreadable:
        content["unreadable"] = [_plain(one._asdict()) for one in unreadable]
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(path, (text + "\n").encode())


def read_results(path: str | Path) -> list[Result]:
    """Reads what ``write_results`` wrote; ``items`` are None.

    Raises:
        ValueError: If the file is in another format.
    """
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} is no results file of format {FORMAT}; write it again with this version")
    return [_result(row) for row in content["results"]]


def _result(row: dict[str, Any]) -> Result:
    interval = row["interval"]
    ends = None if interval is None else (float(interval[0]), float(interval[1]))
    return Result(**{**row, "value": float(row["value"]), "interval": ends})


def _plain(value: Any) -> Any:
    """Numpy's numbers and arrays as Python's, and floats that JSON lacks as strings."""
    match value:
        case np.generic() | np.ndarray():
            return _plain(value.tolist())
        case float():
            return value if math.isfinite(value) else str(value)
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
    return value


def format_table(rows: Sequence[Result]) -> str:
    """Plain text for a terminal: results in percent or their unit, 95 % intervals, and the numbers of samples.

    Returns:
        Lines without a final line break.
    """
    cells = [("result", "percent", "95 % interval", "n", "missing")]
    cells += [
        (row.name, printed(row.value, row.unit), printed_interval(row), f"{row.n:,}", f"{row.missing:,}")
        for row in rows
    ]
    return _aligned(cells)


def format_comparisons(comparisons: Sequence[Comparison]) -> str:
    """Plain text for a terminal: differences in percentage points or their unit, 95 % intervals, and p.

    Returns:
        Lines without a final line break.
    """
    cells = [("difference", "points", "95 % interval", "p", "n")]
    for one in comparisons:
        sign = "+" if one.difference > 0 else ""
        difference = f"{sign}{printed(one.difference, one.unit)}"
        cells.append((one.name, difference, printed_interval(one), printed_p(one.p_value), f"{one.n:,}"))
    return _aligned(cells)


def _aligned(cells: Sequence[Sequence[str]]) -> str:
    """Lines of a table, of which the first is its head."""
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = [_line(line, widths) for line in cells]
    return "\n".join([lines[0], "-" * sum(widths, start=2 * (len(widths) - 1)), *lines[1:]])


def printed(value: float, unit: str = "") -> str:
    """A value to read: a fraction in percent without a sign, anything else to four digits with its unit."""
    number = printed_number(value, unit)
    return f"{number} {unit.removesuffix('s') if number == '1' else unit}".rstrip()


def printed_number(value: float, unit: str = "") -> str:
    """As ``printed``, without the unit."""
    if not math.isfinite(value):
        return str(value)
    if not unit:
        return f"{100 * value:.1f}"
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def counted(number: int, noun: str) -> str:
    """A number of things: "1 sample", "3 samples", "3 classes"."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{ending}"


def printed_p(p_value: float | None) -> str:
    """A probability to read, "-" where there is none."""
    if p_value is None:
        return "-"
    return "<0.001" if p_value < 0.001 else f"{p_value:.3f}"


def printed_interval(row: Result | Comparison) -> str:
    """The 95 % interval of a result or a difference to read, "-" where it has none."""
    return "-" if row.interval is None else " to ".join(printed_number(end, row.unit) for end in row.interval)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """The name to the left, the numbers to the right, so that they can be compared."""
    numbers = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
    return "  ".join([cells[0].ljust(widths[0]), *numbers])
