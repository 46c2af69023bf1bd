"""What is seen first: the figures of a model in a table, and how sure they are."""

from collections.abc import Sequence

import numpy as np

from clip_lightning.reports.document import Block, Row, Table
from clip_lightning.reports.evaluation.evaluated import Evaluated, Family, Measured, families, is_average
from clip_lightning.reports.evaluation.wording import data_set, metric_title, shown, shown_interval, signed, with_unit
from clip_lightning.results import counted

_COLUMNS = ("Model", "Measured", "On", ">Figure", ">95 % interval", "Range", ">Against published")
_EMPTY_IF_UNUSED = ("Model", "Range", ">Against published")


def summary(models: Sequence[Evaluated]) -> list[Block]:
    """A line for each model and family, and what could not be measured."""
    rows = [line for model in models for line in _lines(model, is_named=len(models) > 1)]
    used = [
        place
        for place, column in enumerate(_COLUMNS)
        if column not in _EMPTY_IF_UNUSED or any(row.cells[place] for row in rows)
    ]
    table = Table(
        _caption(models, is_compared=len(_COLUMNS) - 1 in used),
        [_COLUMNS[place] for place in used],
        [Row([row.cells[place] for place in used], row.is_strong, row.is_first) for row in rows],
    )
    return [table, _completeness(models)]


def _caption(models: Sequence[Evaluated], *, is_compared: bool) -> str:
    text = "Summary. Of several data sets: the mean of their deciding figures, the widths of their intervals, the ends."
    published = {model.name: model.published_as for model in models if model.published_as}
    if not published:
        return text
    if not is_compared:
        theirs = ", ".join(dict.fromkeys(published.values()))
        return f"{text} Nothing is known to be published of {theirs} on these data sets."
    beside = ", ".join(f"{name} beside {other}" if len(models) > 1 else str(other) for name, other in published.items())
    return f"{text} Published: {beside}; the mean difference in points where the protocols are the same."


def _lines(model: Evaluated, *, is_named: bool) -> list[Row]:
    cells = [_cells(family.title, found) for family in families(model) for found in _groups(family)]
    return [
        Row((model.name if is_named and place == 0 else "", *line), is_first=is_named and place == 0)
        for place, line in enumerate(cells)
    ]


def _groups(family: Family) -> list[list[Measured]]:
    """The data sets together, and each published average over data sets by itself."""
    averages = [[one] for one in family.deciding if is_average(one.row)]
    return [family.of_data_sets, *averages] if family.of_data_sets else averages


def _cells(title: str, deciding: Sequence[Measured]) -> tuple[str, str, str, str, str, str]:
    against = _against(deciding)
    if len(deciding) == 1:
        row = deciding[0].row
        on = f"{data_set(row)}, {metric_title(row.metric)}"
        return title, on, with_unit(row.value, row.unit), shown_interval(row), "", against
    value, ends = _mean(deciding)
    return title, f"{len(deciding)} data sets", value, _widths(deciding), ends, against


def _mean(deciding: Sequence[Measured]) -> tuple[str, str]:
    """Mean and ends, where the figures have a unit in common."""
    rows = sorted((one.row for one in deciding if np.isfinite(one.row.value)), key=lambda row: row.value)
    if len({row.unit for row in rows}) != 1:
        return "see the table", ""
    unit = rows[0].unit
    ends = (f"{shown(row.value, unit)} ({data_set(row)})" for row in (rows[0], rows[-1]))
    return with_unit(float(np.mean([row.value for row in rows])), unit), " to ".join(ends)


def _widths(deciding: Sequence[Measured]) -> str:
    """How wide the intervals are, in percentage points on either side."""
    halves = [
        (one.row.interval[1] - one.row.interval[0]) / 2 for one in deciding if one.row.interval and not one.row.unit
    ]
    return f"± {100 * min(halves):.1f} to ± {100 * max(halves):.1f}" if halves else "—"


def _against(deciding: Sequence[Measured]) -> str:
    """The mean difference from the published model, over what was measured alike."""
    known = [one.reference for one in deciding if one.reference]
    differences = [reference.difference for reference in known if reference.difference is not None]
    if not known:
        return ""
    if not differences:
        return "other protocols"
    return f"{signed(float(np.mean(differences)))} on {len(differences)} of {len(known)}"


def _completeness(models: Sequence[Evaluated]) -> str:
    """How much of what was asked for was measured."""
    rows = [row for model in models for row in model.rows]
    sources = {row.source for row in rows if not is_average(row)}
    missing = {row.source: row.missing for row in rows if row.missing and not is_average(row)}
    absent = {name for model in models for name in model.absent}
    sentences = [
        f"{counted(len(rows), 'figure')} on {counted(len(sources), 'data set')}.",
        f"{counted(sum(missing.values()), 'sample')} of {counted(len(missing), 'data set')} could not be evaluated; "
        "n does not count them."
        if missing
        else "Every sample was evaluated.",
        f"{counted(len(absent), 'data set')} could not be measured; the reasons are under “What is missing”."
        if absent
        else "",
    ]
    return " ".join(filter(None, sentences))
