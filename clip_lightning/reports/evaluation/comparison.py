"""Several models: their figures side by side, and how they differ on the same samples."""

from collections.abc import Sequence

from clip_lightning.reports.document import Plot, Row, Table
from clip_lightning.reports.evaluation.evaluated import Evaluated, evaluator_of, families
from clip_lightning.reports.evaluation.tables import MOST_ROWS
from clip_lightning.reports.evaluation.wording import data_set, family_title, metric_title, shown, signed
from clip_lightning.reports.style import BLUE, FAINT, INK, new_figure, plot, styled
from clip_lightning.results import Comparison, Result, printed_p

_MOST_LINES = 40


def side_by_side(models: Sequence[Evaluated]) -> Table:
    """The deciding figures of all models, a column each."""
    figures: dict[tuple[str, str, str], dict[str, Result]] = {}
    for model in models:
        for family in families(model):
            for row, *_ in family.deciding:
                figures.setdefault((family.title, data_set(row), row.metric), {})[model.name] = row
    rows, last = [], ""
    for (title, name, metric), of in figures.items():
        cells = [shown(of[one.name].value, of[one.name].unit) if one.name in of else "" for one in models]
        is_first = title != last
        names = (title if is_first else "", name, metric_title(metric))
        rows.append(Row((*names, *cells), is_first=is_first))
        last = title
    columns = ["Measured", "Data set", "Metric", *(f">{model.name}" for model in models)]
    caption = "The deciding figures of all models, in percent where no unit is given."
    return Table(caption, columns, rows[:MOST_ROWS], rows[MOST_ROWS:])


def difference_table(models: Sequence[Evaluated]) -> Table:
    """Differences of all further models from the first, on the same samples."""
    rows = []
    for model in models[1:]:
        last = ""
        for one, row in _with_rows(model):
            title = family_title(evaluator_of(row))
            names = (model.name if not last else "", title if title != last else "", data_set(row))
            rows.append(
                Row((*names, metric_title(row.metric), *_cells(one, row.unit)), _is_resolved(one), title != last)
            )
            last = title
    methods = dict.fromkeys(one.method for model in models for one in model.comparisons)
    return Table(
        f"Differences from {models[0].name} on the same samples, in percentage points where no unit is given. Bold: "
        "the 95 % interval does not hold zero.",
        ["Model", "Measured", "Data set", "Metric", ">Difference", ">95 % interval", ">p"],
        rows[:MOST_ROWS],
        rows[MOST_ROWS:],
        [f"Intervals and p: {'; '.join(methods)}. No correction for the number of comparisons."],
    )


def difference_plot(model: Evaluated, first: str) -> Plot | None:
    """Differences of shares with their intervals, the largest at the top; None where none has an interval.

    Args:
        model: A further model, with comparisons.
        first: Name of the model that it is compared with.
    """
    drawn = [(one, row) for one, row in _with_rows(model) if not row.unit and one.interval]
    if not drawn:
        return None
    by_size = sorted(drawn, key=lambda pair: -abs(pair[0].difference))
    largest = sorted(by_size[:_MOST_LINES], key=lambda pair: pair[0].difference)
    labels = _labels([row for _, row in largest])
    with styled():
        figure = new_figure(7.6, 0.75 + 0.2 * len(largest))
        axes = figure.subplots()
        for place, (one, _) in enumerate(largest):
            colour = BLUE if _is_resolved(one) else FAINT
            low, high = one.interval or (one.difference,) * 2
            axes.hlines(place, 100 * low, 100 * high, color=colour, linewidth=1.6)
            axes.plot(100 * one.difference, place, "o", color=colour, markersize=4.5)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_yticks(range(len(largest)), labels)
        axes.tick_params(axis="y", colors=INK)
        axes.set_ylim(-0.7, len(largest) - 0.3)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(f"{model.name} less {first} (percentage points)")
    without = len(model.comparisons) - len(drawn)
    rest = f" {without} more, without an interval or of another unit, are in the table." if without else ""
    return plot(figure, _caption(model.name, first, [one for one, _ in drawn]) + rest)


def _with_rows(model: Evaluated) -> list[tuple[Comparison, Result]]:
    rows = {row.name: row for row in model.rows}
    return [(one, rows[one.name]) for one in model.comparisons]


def _labels(rows: Sequence[Result]) -> list[str]:
    """Names of results, without what all have in common."""
    families_differ = len({evaluator_of(row) for row in rows}) > 1
    metrics_differ = len({row.metric for row in rows}) > 1
    return [
        (f"{family_title(evaluator_of(row))}: " if families_differ else "")
        + data_set(row)
        + (f", {metric_title(row.metric)}" if metrics_differ else "")
        for row in rows
    ]


def _caption(name: str, first: str, differences: Sequence[Comparison]) -> str:
    resolved = [one for one in differences if _is_resolved(one)]
    better = sum(one.difference > 0 for one in resolved)
    drawn = f" The {_MOST_LINES} largest are drawn." if len(differences) > _MOST_LINES else ""
    return (
        f"{name} has higher figures than {first} in {better} of {len(differences)} comparisons and lower ones in "
        f"{len(resolved) - better}; in {len(differences) - len(resolved)} the 95 % interval holds zero (grey).{drawn}"
    )


def _cells(one: Comparison, unit: str) -> tuple[str, str, str]:
    interval = "—" if one.interval is None else " to ".join(signed(end, unit) for end in one.interval)
    p_value = "—" if one.p_value is None else printed_p(one.p_value)
    return f"{signed(one.difference, unit)} {unit}".rstrip(), interval, p_value


def _is_resolved(one: Comparison) -> bool:
    return one.interval is not None and not one.interval[0] <= 0 <= one.interval[1]
