"""Small panels of one kind side by side, one for each data set."""

import textwrap
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clip_lightning.reports.evaluation.wording import told_apart
from clip_lightning.reports.style import new_figure, styled
from clip_lightning.results import Result

_COLUMNS, _LETTERS = 3, 26
MOST_PANELS = 12


def panels(
    rows: Sequence[Result], draw: Callable[[Axes, Result], None], x: str, y: str, *, side: float = 2.6
) -> Figure:
    """A panel for each of the first dozen results, under the names of their data sets.

    Args:
        rows: Results with details, one at least.
        draw: Draws one of them.
        x: Label of the horizontal axis, with its unit.
        y: Label of the vertical axis.
        side: Height of a panel in inches.
    """
    shown = rows[:MOST_PANELS]
    columns = 2 if len(shown) == 4 else min(len(shown), _COLUMNS)
    lines = -(-len(shown) // columns)
    with styled():
        figure = new_figure(
            4.2 if columns == 1 else 3.0 * columns, (side + 0.5) * lines * (1.15 if columns == 1 else 1)
        )
        grid = figure.subplots(lines, columns, squeeze=False)
        for axes, row, name in zip(grid.flat, shown, told_apart(rows), strict=False):
            axes.set_title(textwrap.fill(name, _LETTERS))
            draw(axes, row)
        for place, axes in enumerate(grid.flat):
            axes.set_visible(place < len(shown))
            if place % columns == 0:
                axes.set_ylabel(y)
            if place + columns >= len(shown):
                axes.set_xlabel(x)
    return figure


def left_out(rows: Sequence[Result]) -> str:
    """What a caption says of the results that have no panel."""
    rest = len(rows) - MOST_PANELS
    return f" {rest} further data sets are not drawn." if rest > 0 else ""
