"""What a figure owes to choices: of templates, of the strength of regularisation."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from clip_lightning.reports.document import Plot, Row, Table
from clip_lightning.reports.evaluation.panels import left_out, panels
from clip_lightning.reports.evaluation.wording import data_set, metric_title, superscript
from clip_lightning.reports.style import BLUE, INK, ORANGE, new_figure, plot, styled
from clip_lightning.results import Result, counted, printed


def template_plot(rows: Sequence[Result]) -> Plot:
    """What each template gives by itself, a row of points for each data set.

    Args:
        rows: Results with details of the kind "templates", one at least.
    """
    with styled():
        figure = new_figure(7.0, 1.0 + 0.3 * len(rows))
        axes = figure.subplots()
        for place, row in enumerate(reversed(rows)):
            values = 100 * np.array([float(one["value"]) for one in _templates(row)])
            points = axes.plot(values, np.full(len(values), place), "o", color=BLUE, alpha=0.35, markersize=5, mew=0)
            mean = axes.plot(values.mean(), place, "|", color=ORANGE, markersize=13, markeredgewidth=2)
        labels = ["one template alone", "mean of these figures, not the ensemble of all templates"]
        figure.legend([*points, *mean], labels, loc="outside lower center", ncols=2, frameon=False, handletextpad=0.3)
        axes.set_yticks(range(len(rows)), [data_set(row) for row in reversed(rows)])
        axes.tick_params(axis="y", colors=INK)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(f"{_template_metric(rows[0])} (%)")
    spreads = "; ".join(map(_spread, rows[:6])) + ("; …" if len(rows) > 6 else "")
    return plot(
        figure,
        f"Each template by itself, and the mean of these figures, which is not that of their ensemble: {spreads}.",
    )


def template_table(row: Result) -> Table:
    """Templates from the best to the worst."""
    ordered = sorted(_templates(row), key=lambda one: -float(one["value"]))
    lines = [Row((str(one["template"]), printed(float(one["value"])))) for one in ordered]
    caption = f"Templates of {data_set(row)} by themselves, in percent."
    return Table(caption, ["Template", f">{_template_metric(row)}"], lines[:10], lines[10:])


def search_plot(rows: Sequence[Result]) -> Plot:
    """What each strength of regularisation gave on validation data, and which was chosen.

    Args:
        rows: Results with details of the kind "probe_search", one at least.
    """
    figure = panels(rows, _draw_search, "strength of the regularisation", "validation (%)", side=1.9)
    edges = [data_set(row) for row in rows if _is_at_edge(row)]
    text = "Probes on validation data by their regularisation; the chosen one is orange."
    at_edge = f" At an end of the range, so perhaps not the best: {', '.join(edges)}." if edges else ""
    return plot(figure, text + at_edge + left_out(rows))


def _template_metric(row: Result) -> str:
    return metric_title(str((row.details or {})["metric"]))


def _templates(row: Result) -> list[dict[str, str | float]]:
    return list((row.details or {})["rows"])


def _spread(row: Result) -> str:
    values = [float(one["value"]) for one in _templates(row)]
    return f"{data_set(row)} {printed(min(values))} to {printed(max(values))} % with {counted(len(values), 'template')}"


def _fits(row: Result) -> dict[float, float]:
    """Validation figures by strength, the weakest first."""
    return dict(sorted((float(one["strength"]), float(one["value"])) for one in (row.details or {})["fits"]))


def _chosen(row: Result) -> float:
    """The strength among the fits that is the chosen one, which may be rounded."""
    chosen = float((row.details or {})["chosen"])
    return min(_fits(row), key=lambda strength: abs(strength - chosen))


def _draw_search(axes: Axes, row: Result) -> None:
    fits, chosen = _fits(row), _chosen(row)
    values = [100 * value for value in fits.values()]
    axes.plot(list(fits), values, color=BLUE, marker="o", markersize=3.5, linewidth=1.2)
    axes.plot(chosen, 100 * fits[chosen], "o", color=ORANGE, markersize=6)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"10{superscript(round(np.log10(value)))}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _is_at_edge(row: Result) -> bool:
    strengths = list(_fits(row))
    return _chosen(row) in (strengths[0], strengths[-1])
