"""Whether probabilities mean what they say: reliability, and accuracy of the surest answers."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from clip_lightning.reports.curves import spread
from clip_lightning.reports.document import Plot
from clip_lightning.reports.evaluation.panels import left_out, panels
from clip_lightning.reports.evaluation.wording import data_set, signed, told_apart
from clip_lightning.reports.style import BLUE, FAINT, PALETTE, RULE, new_figure, plot, styled
from clip_lightning.results import Result, printed


def reliability_plot(rows: Sequence[Result]) -> Plot:
    """Accuracy over confidence in bins, over the share of samples in each.

    Args:
        rows: Results with details of the kind "reliability", one at least.
    """
    figure = panels(rows, _draw_reliability, "confidence (%)", "accuracy (%)")
    gaps = [f"{name} {_gap(row)}" for name, row in zip(told_apart(rows), rows[:6], strict=False)]
    text = (
        "Accuracy over confidence: on the diagonal a model is as often right as it is sure. Grey bars: the share of "
        f"samples in each bin. Mean confidence less accuracy: {'; '.join(gaps)}{'; …' if len(rows) > 6 else ''}."
    )
    return plot(figure, text + left_out(rows))


def risk_coverage_plot(rows: Sequence[Result]) -> Plot:
    """Share of wrong answers if only the surest are given.

    Args:
        rows: Results with details of the kind "risk_coverage", one at least.
    """
    shown = rows[: len(PALETTE)]
    with styled():
        figure = new_figure(6.2, 3.3)
        axes = figure.subplots()
        for row, colour in zip(shown, PALETTE, strict=False):
            axes.plot(100 * _array(row, "coverage"), 100 * _array(row, "risk"), color=colour)
        axes.set_xlim(0, 100)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("answers given, the surest first (%)")
        axes.set_ylabel("wrong among them (%)")
        _label_ends(axes, shown)
    return plot(
        figure,
        _risk_caption(rows)
        + (f" {len(rows) - len(shown)} further data sets are not drawn." if rows[len(shown) :] else ""),
    )


def _draw_reliability(axes: Axes, row: Result) -> None:
    confidence, accuracy, n = _bins(row)
    axes.bar(100 * confidence, 100 * n / max(n.sum(), 1), width=4, color=RULE)
    axes.plot([0, 100], [0, 100], color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
    for center, (low, high) in zip(confidence, _intervals(row), strict=True):
        axes.vlines(100 * center, 100 * low, 100 * high, color=BLUE, linewidth=1.2, alpha=0.6)
    axes.plot(100 * confidence, 100 * accuracy, color=BLUE, marker="o", markersize=4, linewidth=1.4)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    axes.set_aspect("equal")


def _bins(row: Result) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean confidence, accuracy and number of samples of each bin that holds any."""
    bins = [(one["confidence"], one["accuracy"], one["n"]) for one in (row.details or {})["rows"]]
    confidence, accuracy, n = np.array(bins, dtype=float).reshape(-1, 3).T
    return confidence, accuracy, n


def _intervals(row: Result) -> np.ndarray:
    return np.array([one["interval"] for one in (row.details or {})["rows"]], dtype=float).reshape(-1, 2)


def _gap(row: Result) -> str:
    """Whether a model is surer than it is right, in percentage points."""
    confidence, accuracy, n = _bins(row)
    gap = float(np.average(confidence - accuracy, weights=n))
    return f"{signed(gap)} points ({'overconfident' if gap > 0 else 'underconfident'})"


def _label_ends(axes: Axes, rows: Sequence[Result]) -> None:
    top = axes.get_ylim()[1] or 1.0
    ends = [100 * float(_array(row, "risk")[-1]) / top for row in rows]
    for row, height, colour in zip(rows, spread(ends, [0.07] * len(rows)), PALETTE, strict=False):
        axes.text(1.02, height, data_set(row), color=colour, transform=axes.transAxes, va="center", fontweight="bold")


def _risk_caption(rows: Sequence[Result]) -> str:
    halves = [
        f"{data_set(row)} {printed(float(_array(row, 'risk')[-1]))} to "
        f"{printed(float(np.interp(0.5, _array(row, 'coverage'), _array(row, 'risk'))))} %"
        for row in rows[:6]
    ]
    return (
        "If the model answers only where it is surest, errors fall from all samples to the surest half: "
        f"{'; '.join(halves)}{'; …' if len(rows) > 6 else ''}."
    )


def _array(row: Result, key: str) -> np.ndarray:
    return np.asarray((row.details or {})[key], dtype=float)
