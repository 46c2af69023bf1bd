"""Accuracy of each class."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import FigureBase
from numpy import ndarray as NDArray

from clip_lightning.reports.style import BLUE, FAINT, INK, RULE

_SHADES = LinearSegmentedColormap.from_list("paper to blue", ["#f4f7fa", "#b8d6e9", BLUE])
_MOST_BARS = 20


def class_accuracy(
    target: Int[NDArray, "samples"], preds: Int[NDArray, "samples"], classes: int
) -> Float[NDArray, "classes"]:
    """Share of each class's samples that are predicted right; NaN for a class that has none."""
    n = np.bincount(target, minlength=classes)
    hits = np.bincount(target[preds == target], minlength=classes)
    accuracy = np.full(classes, np.nan)
    np.divide(hits, n, out=accuracy, where=n > 0)
    return accuracy


def draw_classes(figure: FigureBase, accuracy: Float[NDArray, "classes"], class_names: Sequence[str]) -> None:
    """Draws a square of first word by second word if the names form one ("red circle"), else sorted bars."""
    axes = figure.subplots()
    axes.set_title("Accuracy by class (%)")
    factors = factor_names(class_names)
    if factors:
        _draw_square(axes, accuracy, class_names, *factors)
    else:
        _draw_bars(axes, accuracy, class_names)


def factor_names(class_names: Sequence[str]) -> tuple[list[str], list[str]] | None:
    """First words and remaining words if the classes are all their combinations, at least 2 x 2; else None."""
    split = [tuple(name.split(" ", 1)) for name in class_names]
    if not all(len(parts) == 2 for parts in split):
        return None
    first, second = (list(dict.fromkeys(words)) for words in zip(*split, strict=True))
    complete = len(set(split)) == len(split) == len(first) * len(second)
    return (first, second) if complete and min(len(first), len(second)) > 1 else None


def _draw_square(
    axes: Axes,
    accuracy: Float[NDArray, "classes"],
    class_names: Sequence[str],
    rows: Sequence[str],
    columns: Sequence[str],
) -> None:
    label = {name: place for place, name in enumerate(class_names)}
    square = np.array([[accuracy[label[f"{row} {column}"]] for column in columns] for row in rows])
    axes.imshow(np.ma.masked_invalid(square), cmap=_SHADES, vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(colors=INK, pad=2)
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    # White lines between the cells.
    axes.set_xticks(np.arange(1, len(columns)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(rows)) - 0.5, minor=True)
    axes.grid(visible=True, which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    for (row, column), value in np.ndenumerate(square):
        empty = np.isnan(value)
        colour = FAINT if empty else "white" if value > 0.7 else INK
        axes.text(
            column, row, "-" if empty else f"{100 * value:.0f}", color=colour, ha="center", va="center", fontsize=7.5
        )


def _draw_bars(axes: Axes, accuracy: Float[NDArray, "classes"], class_names: Sequence[str]) -> None:
    """Bars from the best class to the worst; of more than 20 classes only the ends, and how many lie between."""
    order = [label for label in np.argsort(-accuracy, kind="stable") if not np.isnan(accuracy[label])]
    half, between = _MOST_BARS // 2, len(order) - _MOST_BARS
    shown = order if between <= 0 else [*order[:half], *order[-half:]]
    # The ends of a long list stand one row apart, with the note between them.
    rows = np.arange(len(shown)) + (np.arange(len(shown)) >= half) * (between > 0)
    values = 100 * accuracy[shown]
    axes.barh(rows, values, height=0.72, color=BLUE)
    axes.barh(rows, 100 - values, left=values, height=0.72, color=RULE, alpha=0.6)
    for row, value in zip(rows, values, strict=True):
        axes.text(101.5, row, f"{value:.0f}", va="center", color=INK, fontsize=7.5)
    if between > 0:
        axes.text(0, half, f"{between} classes between these", va="center", color=FAINT, fontsize=7.5, style="italic")
    axes.set_yticks(rows, [class_names[label] for label in shown])
    axes.tick_params(axis="y", colors=INK)
    axes.set_xlim(0, 100)
    axes.set_ylim(max(rows, default=0) + 0.6, -0.6)
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
