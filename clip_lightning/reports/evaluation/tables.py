"""The main table of a family: each figure with its interval, and the published one beside it."""

from collections.abc import Sequence

from clip_lightning.reports.document import Row, Table
from clip_lightning.reports.evaluation.evaluated import Family, Measured
from clip_lightning.reports.evaluation.wording import data_set, metric_title, shown, shown_interval, signed, superscript
from clip_lightning.results import Result, printed

MOST_ROWS = 60
_MOST_NAMED = 4
_UNCHECKED = "†"


def family_table(family: Family, published_as: str | None) -> Table:
    """All results of a family; those that decide are strong.

    Args:
        family: Its results.
        published_as: The published model beside it, if any.
    """
    notes: list[str] = []
    shows_reference = any(one.reference for one in family.measured)
    columns = ["Data set", "Metric", ">Value", ">95 % interval", ">n", ">Missing"]
    is_grouped = family.has_further
    rows = [Row(_cells(one, notes, shows_reference), *[is_grouped and one.is_deciding] * 2) for one in family.measured]
    return Table(
        caption=_caption(family, published_as if shows_reference else None),
        columns=[*columns, *([">Published", ">Difference"] if shows_reference else [])],
        rows=rows[:MOST_ROWS],
        folded=rows[MOST_ROWS:],
        notes=[
            *[f"{superscript(number)} {note}." for number, note in enumerate(notes, 1)],
            *_unchecked(family),
            *_methods(family),
        ],
    )


def _cells(one: Measured, notes: list[str], shows_reference: bool) -> list[str]:
    row = one.row
    cells = [
        data_set(row) if one.is_deciding else "",
        metric_title(row.metric),
        shown(row.value, row.unit),
        shown_interval(row),
        f"{row.n:,}",
        f"{row.missing:,}",
    ]
    return [*cells, *(_reference_cells(one, notes) if shows_reference else [])]


def _reference_cells(one: Measured, notes: list[str]) -> tuple[str, str]:
    if one.reference is None:
        return "", ""
    figure = one.reference.figure
    published = printed(figure.value) + (_UNCHECKED if figure.confidence else "")
    if one.reference.difference is not None:
        return published, signed(one.reference.difference)
    if one.reference.reason not in notes:
        notes.append(one.reference.reason)
    return published, f"—{superscript(notes.index(one.reference.reason) + 1)}"


def _caption(family: Family, published_as: str | None) -> str:
    text = f"{family.title}, in percent where no unit is given."
    text += " The figure that decides for each data set is bold." if family.has_further else ""
    if published_as:
        text += (
            f" Published: {published_as}; the difference, in percentage points, is given only where both were measured "
            "by one protocol."
        )
    return text


def _unchecked(family: Family) -> list[str]:
    """What is to be known of published figures that were not read from their source."""
    figures = [one.reference.figure for one in family.measured if one.reference]
    said = dict.fromkeys((figure.table, figure.confidence) for figure in figures if figure.confidence)
    return [f"{_UNCHECKED} {table}: {confidence}." for table, confidence in said]


def _methods(family: Family) -> list[str]:
    """How the intervals were made, and why some figures have none."""
    methods = dict.fromkeys(row.method for row in family.rows if row.interval)
    notes = [f"Intervals: {'; '.join(methods)}." if methods else "No intervals."]
    without: dict[str, list[Result]] = {}
    for row in family.rows:
        if row.interval is None and row.method:
            without.setdefault(row.method.removeprefix("none: "), []).append(row)
    for reason, rows in without.items():
        names = [f"{metric_title(row.metric)} of {data_set(row)}" for row in rows]
        rest = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        notes.append(f"No interval: {', '.join(names[:_MOST_NAMED])}{rest}: {reason}.")
    return notes


def remarks(rows: Sequence[Result]) -> list[str]:
    """What is to be said of figures that are easily misread."""
    reversed_sets = [data_set(row) for row in rows if row.metric == "area_under_roc" and row.value < 0.5]
    if not reversed_sets:
        return []
    return [
        f"An area below 50: the model is surer of images of none of the classes than of known ones "
        f"({', '.join(reversed_sets)}), so its confidence does not tell them apart, and a threshold on it would keep "
        "the wrong ones."
    ]
