"""Metrics over the steps of training."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.ticker import FuncFormatter, MaxNLocator

from clip_lightning.reports.style import PALETTE

# A curve with more points than this is noise to the eye: its moving mean is drawn over it.
_DENSE = 100


class Curve(NamedTuple):
    """One metric.

    Args:
        steps: When it was measured, ascending.
        values: Its value at each step; accuracies are fractions.
        low: Lower ends of its intervals, if known.
        high: Upper ends of its intervals, if known.
    """

    steps: Sequence[float]
    values: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


History = Mapping[str, Curve | tuple[Sequence[float], Sequence[float]]]


def draw_curves(figure: FigureBase, history: History) -> None:
    """Draws losses and accuracies side by side, each line labelled at its end.

    Args:
        figure: Where to draw.
        history: Metrics by name; a name whose last part has "loss" is a loss, all others are fractions.
    """
    losses = {name: Curve(*curve) for name, curve in history.items() if "loss" in name.split("/")[-1]}
    others = {name: Curve(*curve) for name, curve in history.items() if name not in losses}
    panels = [(title, curves) for title, curves in (("Loss", losses), ("Accuracy (%)", others)) if curves]
    axes = figure.subplots(1, max(len(panels), 1), squeeze=False)[0]
    for panel, (title, curves) in zip(axes, panels, strict=False):
        _panel(panel, title, curves, scale=1 if curves is losses else 100)


def _panel(axes: Axes, title: str, curves: Mapping[str, Curve], scale: float) -> None:
    axes.set_title(title)
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    axes.grid(visible=False, axis="x")
    colours = [PALETTE[place % len(PALETTE)] for place in range(len(curves))]
    ends = [_line(axes, curve, colour, scale) for curve, colour in zip(curves.values(), colours, strict=True)]
    axes.margins(x=0)
    axes.set_xlim(left=min(0, axes.get_xlim()[0]))
    # Good accuracies are seen against the best possible, poor ones as large as they can be drawn.
    top = 100 if scale == 100 and axes.get_ylim()[1] > 60 else None
    axes.set_ylim(None if axes.dataLim.y0 < 0 else 0, top)
    _label_ends(axes, _short_names(list(curves)), ends, colours)


def _line(axes: Axes, curve: Curve, colour: str, scale: float) -> float:
    """Draws a line, with its band, and returns the height at which it ends."""
    steps, values = np.asarray(curve.steps, dtype=float), scale * np.asarray(curve.values, dtype=float)
    if len(values) > _DENSE:
        axes.plot(steps, values, color=colour, alpha=0.2, linewidth=0.8)
        values = _moving_mean(values, width=len(values) // 40 * 2 + 1)
    if curve.low is not None and curve.high is not None:
        low, high = scale * np.asarray(curve.low), scale * np.asarray(curve.high)
        axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(steps, values, color=colour, marker="o" if len(values) == 1 else "")
    finite = values[np.isfinite(values)]
    return float(finite[-1]) if len(finite) else 0.0


def _moving_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Centred mean over an odd number of points, fewer at the ends."""
    ones = np.ones(width)
    return np.convolve(values, ones, mode="same") / np.convolve(np.ones_like(values), ones, mode="same")


def _label_ends(axes: Axes, names: Sequence[str], ends: Sequence[float], colours: Sequence[str]) -> None:
    """Writes each name beside the end of its line, moved apart where lines end close together."""
    bottom, top = axes.get_ylim()
    sizes = [0.02 + 0.06 * (name.count("\n") + 1) for name in names]
    heights = spread([(end - bottom) / (top - bottom) for end in ends], sizes)
    for name, height, colour in zip(names, heights, colours, strict=True):
        axes.text(
            1.02, height, name, color=colour, transform=axes.transAxes, va="center", fontweight="bold", fontsize=8
        )


def spread(centers: Sequence[float], sizes: Sequence[float]) -> list[float]:
    """Moves labels apart until none overlap: no further than needed, in their order, and within 0 to 1 if they fit.

    Args:
        centers: Where the labels would best stand.
        sizes: Height of each.

    Returns:
        Where they stand.
    """
    order = np.argsort(centers, kind="stable").tolist()
    # Groups of labels that touch; each stands around the mean of its members' best places.
    groups: list[list[int]] = []
    for label in order:
        groups.append([label])
        while len(groups) > 1 and _bottom(groups[-1], centers, sizes) < _bottom(groups[-2], centers, sizes) + sum(
            sizes[member] for member in groups[-2]
        ):
            groups[-2:] = [groups[-2] + groups[-1]]
    placed = [0.0] * len(order)
    for group in groups:
        edge = _bottom(group, centers, sizes)
        for label in group:
            placed[label] = edge + sizes[label] / 2
            edge += sizes[label]
    return placed


def _bottom(group: Sequence[int], centers: Sequence[float], sizes: Sequence[float]) -> float:
    """Lower edge of a stack of labels."""
    height = sum(sizes[label] for label in group)
    center = sum(centers[label] for label in group) / len(group)
    return max(min(center - height / 2, 1 - height), 0.0)


def _short_names(names: Sequence[str]) -> list[str]:
    """The parts of the names by which they differ."""
    parts = [name.split("/") for name in names]
    while len(parts) > 1 and all(len(part) > 1 for part in parts) and len({part[0] for part in parts}) == 1:
        parts = [part[1:] for part in parts]
    while len(parts) > 1 and all(len(part) > 1 for part in parts) and len({part[-1] for part in parts}) == 1:
        parts = [part[:-1] for part in parts]
    if len(parts) == 1:
        parts = [parts[0][-2:-1] or parts[0]]
    return [textwrap.fill(" ".join(part).replace("_", " "), width=16) for part in parts]
