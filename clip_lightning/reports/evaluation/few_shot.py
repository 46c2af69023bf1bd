"""How a probe learns from few images of each class, and how many zero-shot is worth."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from clip_lightning.reports.document import Plot
from clip_lightning.reports.evaluation.panels import left_out, panels
from clip_lightning.reports.evaluation.wording import data_set, metric_title
from clip_lightning.reports.style import BLUE, INK, ORANGE, plot
from clip_lightning.results import Result, counted, printed


def few_shot_plot(rows: Sequence[Result]) -> Plot:
    """Figures over the number of labelled images a class, with the zero-shot level of the same features.

    Args:
        rows: Results with details of the kind "few_shot_curve", one at least.

    Source: Radford et al. 2021 (arXiv 2103.00020), figures 6 and 7.
    """
    metric = re.sub(r"_of_\d+_shots?$", "", rows[0].metric)
    figure = panels(rows, _draw, "labelled images of each class", f"{metric_title(metric)} (%)")
    worth = [f"{text} on {data_set(row)}" for row in rows if (text := _worth(_curve(row)))]
    found = f" Zero-shot is worth {'; '.join(worth[:4])}{'; …' if len(worth) > 4 else ''}." if worth else ""
    text = "Probes of few images: the mean (line) of several draws (dots). Orange: zero-shot, without any of them."
    return plot(figure, text + found + left_out(rows))


def _draw(axes: Axes, row: Result) -> None:
    points, zero_shot = _curve(row)["points"], _curve(row).get("zero_shot")
    shots = [float(point["shots"]) for point in points]
    mean = 100 * np.array([float(point["mean"]) for point in points])
    for x, point in zip(shots, points, strict=True):
        values = 100 * np.array(point["values"], dtype=float)
        axes.plot(np.full(len(values), x), values, "o", color=BLUE, alpha=0.35, markersize=4, markeredgewidth=0)
    axes.plot(shots, mean, color=BLUE)
    if zero_shot is not None:
        _draw_level(axes, 100 * float(zero_shot), rises_from_below=100 * float(zero_shot) >= mean[0])
    label_shots(axes, shots)
    axes.set_ylim(0, 100)


def label_shots(axes: Axes, shots: Sequence[float]) -> None:
    """A logarithmic axis with a mark at each number of images a class."""
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(shots))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{shot:.0f}" for shot in shots])
    axes.tick_params(axis="x", colors=INK)


def _draw_level(axes: Axes, level: float, *, rises_from_below: bool) -> None:
    """The zero-shot figure; a curve that begins below it leaves room at the left, another at the right."""
    axes.axhline(level, color=ORANGE, linewidth=1.4, linestyle=(0, (5, 2)))
    end, shift, side = (0, 3, "left") if rises_from_below else (1, -3, "right")
    axes.annotate(
        f"zero-shot {printed(level / 100)}", (end, level), (shift, 2.5), xycoords=("axes fraction", "data"),
        textcoords="offset points", ha=side, va="bottom", color=ORANGE, fontsize=7.5,
    )  # fmt: skip


def _curve(row: Result) -> dict[str, Any]:
    assert row.details is not None
    return row.details


def _worth(curve: dict[str, Any]) -> str:
    """How many images of each class zero-shot is worth; empty where that was not asked for."""
    match curve.get("zero_shot_is_worth"):
        case {"shots": shots}:
            return f"{float(shots):.1f} images a class"
        case {"more_than": shots}:
            return f"more than {counted(round(shots), 'image')} a class"
        case {"fewer_than": shots}:
            return f"fewer than {counted(round(shots), 'image')} a class"
    return ""
