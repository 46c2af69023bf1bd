"""Which classes are known, and which are taken for each other."""

from collections.abc import Sequence

import numpy as np

from clip_lightning.reports.document import Folded, Plot, Row, Table
from clip_lightning.reports.evaluation.wording import data_set
from clip_lightning.reports.style import BLUE, FAINT, INK, RULE, new_figure, plot, styled
from clip_lightning.results import Result, counted, printed

_ENDS, _MOST_PAIRS, _FEWEST_DRAWN = 20, 10, 5
_LETTERS = 34


def class_details(row: Result) -> Folded:
    """What is found of the classes, and to unfold a table of all of them, and bars of the worst and the best twenty.

    Args:
        row: Result with details of the kind "per_class".
    """
    classes = sorted((row.details or {})["rows"], key=_accuracy)
    known = [one for one in classes if np.isfinite(_accuracy(one))]
    lines = [Row((str(one["class"]), f"{one['n']:,}", printed(_accuracy(one)))) for one in classes]
    table = Table("", ["Class", ">n", ">Accuracy (%)"], lines)
    # Few bars show no more than the table does.
    bars = [_bars(known, data_set(row))] if len(known) >= _FEWEST_DRAWN else []
    return Folded(_found(known, data_set(row), len(classes) - len(known)), [*bars, table])


def confusions(row: Result) -> Folded:
    """What is confused most often, and to unfold a table of pairs of classes.

    Args:
        row: Result with details of the kind "confusions".
    """
    pairs = (row.details or {})["pairs"]
    shares = [printed(one["count"] / one["n"]) for one in pairs]
    lines = [
        Row((str(one["class"]), str(one["taken_for"]), f"{one['count']:,}", share))
        for one, share in zip(pairs, shares, strict=True)
    ]
    heads = ["Shown", "Taken for", ">Samples", ">Share of the class (%)"]
    if not pairs:
        return Folded(f"{data_set(row)}: nothing is taken for something else", [])
    found = f"{data_set(row)}: most often {pairs[0]['class']} for {pairs[0]['taken_for']}, {shares[0]} % of its samples"
    return Folded(found, [Table("", heads, lines[:_MOST_PAIRS], lines[_MOST_PAIRS:])])


def _accuracy(one: dict[str, str | float]) -> float:
    return float(one["accuracy"])


def _bars(known: Sequence[dict[str, str | float]], name: str) -> Plot:
    groups = [known] if len(known) <= 2 * _ENDS else [known[:_ENDS], known[-_ENDS:]]
    if len(groups) == 1 and len(known) > _ENDS:
        half = -(-len(known) // 2)
        groups = [known[:half], known[half:]]
    with styled():
        figure = new_figure(4.4 * len(groups), 0.45 + 0.19 * max(map(len, groups)))
        for axes, group in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups, strict=True):
            places = np.arange(len(group))
            values = np.array([100 * _accuracy(one) for one in group])
            axes.barh(places, np.full(len(group), 100), height=0.72, color=RULE, alpha=0.6)
            axes.barh(places, values, height=0.72, color=BLUE)
            for place, value in zip(places, values, strict=True):
                axes.text(102, place, f"{value:.0f}", va="center", color=INK, fontsize=7.5)
            axes.set_yticks(places, [_cut(str(one["class"])) for one in group])
            axes.tick_params(axis="y", colors=INK)
            axes.set_ylim(max(map(len, groups)) - 0.4, -0.6)
            axes.set_xlim(0, 100)
            axes.set_xticks([])
            axes.spines[:].set_visible(False)
            axes.grid(visible=False)
            axes.set_xlabel("accuracy (%)", color=FAINT)
    text = f"Accuracy of the {counted(len(known), 'class')} of {name}."
    return plot(figure, f"{text} The worst and the best {_ENDS} are drawn." if len(known) > 2 * _ENDS else text)


def _cut(name: str) -> str:
    return name if len(name) <= _LETTERS else name[: _LETTERS - 1].rstrip() + "…"


def _found(known: Sequence[dict[str, str | float]], name: str, without: int) -> str:
    values = np.array([_accuracy(one) for one in known])
    empty = f", {counted(without, 'class')} without samples" if without else ""
    if not known:
        return f"{name}{empty}"
    return (
        f"{name}: the median of {counted(len(known), 'class')} is {printed(float(np.median(values)))} %, below one "
        f"half: {int((values < 0.5).sum()):,}, never right: {int((values == 0).sum()):,}, the worst: "
        f"{known[0]['class']} with {printed(float(values[0]))} %{empty}"
    )
