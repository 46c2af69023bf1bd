"""Figures of many data sets with their intervals, below each other."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from clip_lightning.reports.document import Plot
from clip_lightning.reports.evaluation.evaluated import Measured
from clip_lightning.reports.evaluation.wording import data_set
from clip_lightning.reports.style import BLUE, FAINT, INK, ORANGE, new_figure, plot, styled
from clip_lightning.results import printed

_FEWEST = 3


def forest_plot(deciding: Sequence[Measured], published_as: str | None) -> Plot | None:
    """Deciding figures of at least three data sets, sorted; published ones beside them.

    Args:
        deciding: One for each data set; those that are no shares are left out.
        published_as: Name of the published model.
    """
    drawn = [one for one in deciding if not one.row.unit and np.isfinite(one.row.value)]
    if len(drawn) < _FEWEST:
        return None
    drawn.sort(key=lambda one: one.row.value)
    with styled():
        figure = new_figure(7.6, 0.9 + 0.215 * len(drawn))
        axes = figure.subplots()
        _draw(axes, drawn)
        if any(one.reference for one in drawn):
            figure.legend(loc="outside lower center", ncols=3, frameon=False, handletextpad=0.3)
    return plot(figure, _caption(drawn, published_as))


def _draw(axes: Axes, drawn: Sequence[Measured]) -> None:
    places = np.arange(len(drawn))
    values = np.array([100 * one.row.value for one in drawn])
    ends = np.array([[100 * end for end in one.row.interval or (one.row.value,) * 2] for one in drawn])
    axes.hlines(places, ends[:, 0], ends[:, 1], color=BLUE, linewidth=1.6)
    axes.scatter(values, places, s=17, color=BLUE, zorder=3, label="this model, with 95 % interval")
    for is_alike, label in ((True, "published"), (False, "published, by another protocol")):
        found = [
            (100 * one.reference.figure.value, place)
            for place, one in enumerate(drawn)
            if one.reference and (one.reference.difference is not None) == is_alike
        ]
        if found:
            face = ORANGE if is_alike else "white"
            axes.scatter(*zip(*found, strict=True), s=34, marker="D", facecolor=face, edgecolor=ORANGE, label=label)
    axes.set_yticks(places, [data_set(one.row) for one in drawn])
    axes.tick_params(axis="y", colors=INK)
    axes.set_ylim(-0.7, len(drawn) - 0.3)
    axes.set_xlim(0, 100)
    axes.set_xlabel("deciding metric of each data set (%)")
    axes.spines["left"].set_visible(False)
    for place, one in zip(places, drawn, strict=True):
        axes.text(101.5, float(place), printed(one.row.value), va="center", color=INK if one.row.interval else FAINT)


def _caption(drawn: Sequence[Measured], published_as: str | None) -> str:
    lowest, highest = drawn[0].row, drawn[-1].row
    text = (
        f"From {printed(lowest.value)} % on {data_set(lowest)} to {printed(highest.value)} % on "
        f"{data_set(highest)}; the median of {len(drawn)} data sets is "
        f"{printed(float(np.median([one.row.value for one in drawn])))} %."
    )
    alike = [one for one in drawn if one.reference and one.reference.difference is not None]
    if not alike:
        return text
    inside = sum(
        one.row.interval is not None
        and one.reference is not None
        and one.row.interval[0] <= one.reference.figure.value <= one.row.interval[1]
        for one in alike
    )
    return (
        f"{text} {inside} of {len(alike)} figures of {published_as} that were measured alike lie within the intervals."
    )
