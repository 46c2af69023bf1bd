"""Pictures of a study."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from clip_lightning.ablation.comparison import Summary, pareto_front
from clip_lightning.ablation.outcome import Outcome
from clip_lightning.reports.document import Plot
from clip_lightning.reports.study.scaling import WIDE
from clip_lightning.reports.study.tables import speed_of
from clip_lightning.reports.study.wording import Unit
from clip_lightning.reports.style import BLUE, FAINT, INK, ORANGE, PALETTE, new_figure, plot, styled
from clip_lightning.stats import t_interval


def means_plot(ranked: Sequence[Summary], unit: Unit, baseline: str) -> Plot:
    """Each variant's mean with its interval, and its seeds; the baseline is the vertical line."""
    shown = [one for one in reversed(ranked) if one.values]
    with styled():
        figure = new_figure(7.4, 0.75 + 0.34 * len(shown))
        axes = figure.subplots()
        for place, one in enumerate(shown):
            values = unit.factor * np.array(list(one.values.values()))
            axes.scatter(values, np.full(len(values), place), s=12, color=FAINT, alpha=0.55, linewidth=0, zorder=2)
            if one.interval is not None:
                low, high = one.interval
                axes.hlines(place, unit.factor * low, unit.factor * high, color=BLUE, linewidth=2.2, zorder=3)
            axes.scatter(unit.factor * one.mean, place, s=36, color=BLUE, zorder=4)
            if one.name == baseline:
                axes.axvline(unit.factor * one.mean, color=ORANGE, linewidth=0.9, zorder=1)
        axes.set_yticks(range(len(shown)), [one.name for one in shown])
        axes.tick_params(axis="y", colors=INK)
        axes.set_ylim(-0.6, len(shown) - 0.4)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(unit.label)
    return plot(
        figure, f"{unit.metric}: means with 95 % intervals; grey: single seeds; vertical line: the mean of {baseline}."
    )


def curves_plot(outcome: Outcome, ranked: Sequence[Summary]) -> Plot | None:
    """The deciding metric on validation data over training, with bands over seeds; None where nothing was logged."""
    unit = Unit(outcome.plan.study.decides)
    found = {one.name: _band(outcome, one.name) for one in ranked}
    drawn = {name: band for name, band in found.items() if len(band[0])}
    if not drawn:
        return None
    with styled():
        figure = new_figure(7.4, 3.4)
        axes = figure.subplots()
        for colour, (name, (samples, mean, low, high)) in zip(_colours(len(drawn)), drawn.items(), strict=True):
            axes.plot(samples, unit.factor * mean, color=colour, label=name)
            axes.fill_between(samples, unit.factor * low, unit.factor * high, color=colour, alpha=0.16, linewidth=0)
        axes.set_xlabel("samples seen")
        axes.set_ylabel(unit.label)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
        axes.margins(x=0.01)
        figure.legend(loc="outside right upper", frameon=False)
    shown = unit.metric.replace("test", "val", 1)
    return plot(figure, f"Learning curves, {shown}: mean over seeds, and its 95 % t interval as a band.")


def _band(outcome: Outcome, variant: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Samples, mean, and ends of its interval, where all finished seeds of a variant were measured."""
    curves = [dict(zip(one.curve.step, one.curve.value, strict=True)) for one in outcome.of(variant) if one.curve]
    steps = sorted(set.intersection(*map(set, curves))) if curves else []
    rows = [[curve[step] for curve in curves] for step in steps]
    means = np.array([np.mean(row) for row in rows])
    ends = [t_interval(row) or (mean, mean) for row, mean in zip(rows, means, strict=True)]
    low, high = (np.array([end[side] for end in ends]) for side in (0, 1))
    return outcome.plan.facts[variant].batch_size * np.array(steps), means, low, high


def costs_plot(outcome: Outcome, ranked: Sequence[Summary]) -> Plot | None:
    """The deciding metric against what a variant costs, with the variants that none beats in both joined by a line."""
    facts, study = outcome.plan.facts, outcome.plan.study
    measured = {one.name: one for one in ranked if one.values}
    speeds = {name: speed_of(outcome.of(name)) for name in measured}
    costs = {
        "image GFLOPs": {name: flops / 1e9 for name in measured if (flops := facts[name].image_flops)},
        "parameters (M)": {name: facts[name].parameters / 1e6 for name in measured},
        "training, ms a pair": {name: 1000 / speed for name, speed in speeds.items() if speed},
    }
    panels = {title: values for title, values in costs.items() if len(values) > 1}
    if not panels:
        return None
    colours = dict(zip(measured, _colours(len(measured)), strict=True))
    with styled():
        figure = new_figure(2.75 * len(panels), 3.1)
        grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        fronts = [
            _costs(axes, title, values, measured, colours, study.metrics[study.decides], Unit(study.decides))
            for axes, (title, values) in zip(grid, panels.items(), strict=True)
        ]
        grid[0].set_ylabel(Unit(study.decides).label)
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False)
    text = "; ".join(f"by {title}: {', '.join(front)}" for title, front in zip(panels, fronts, strict=True))
    return plot(figure, f"What a variant costs. No variant beats these in both cost and metric (line): {text}.")


def _costs(
    axes: Axes,
    title: str,
    costs: Mapping[str, float],
    measured: Mapping[str, Summary],
    colours: Mapping[str, str],
    mode: str,
    unit: Unit,
) -> list[str]:
    """One panel; returns the variants of the front."""
    points = {name: (cost, measured[name].mean) for name, cost in costs.items()}
    front = pareto_front(points, "max" if mode == "max" else "min")
    axes.plot([points[name][0] for name in front], [unit.factor * points[name][1] for name in front], color=FAINT, lw=1)
    for name, (cost, mean) in points.items():
        ends = measured[name].interval or (mean, mean)
        axes.vlines(cost, unit.factor * ends[0], unit.factor * ends[1], color=colours[name], linewidth=1.4)
        axes.scatter(cost, unit.factor * mean, s=30, color=colours[name], zorder=3, label=name)
    axes.set_xlabel(title)
    if max(costs.values()) > WIDE * min(costs.values()):
        # What grows by factors, as in the paper's figure 9, is a line there.
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
    return front


def _colours(count: int) -> list[str]:
    return [PALETTE[place % len(PALETTE)] for place in range(count)]
