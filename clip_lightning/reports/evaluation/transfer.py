"""Zero-shot classification against probes: of the same model, and of a supervised one."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from clip_lightning.reports.document import Plot
from clip_lightning.reports.evaluation.evaluated import Family
from clip_lightning.reports.evaluation.labels import Point, name_points
from clip_lightning.reports.evaluation.wording import data_set, signed, with_minus
from clip_lightning.reports.style import BLUE, FAINT, INK, ORANGE, new_figure, plot, styled
from clip_lightning.results import Result
from clip_lightning.stats import linear_relation
from clip_lightning.stats.relation import FEWEST


class Pair(NamedTuple):
    """Figures of one data set by one metric.

    Args:
        zero_shot: Without any labelled image.
        probe: With all of them.
    """

    zero_shot: Result
    probe: Result

    @property
    def gain(self) -> float:
        """Zero-shot less probe."""
        return self.zero_shot.value - self.probe.value


def pairs(zero_shot: Family, probes: Family) -> list[Pair]:
    """Deciding figures of both families on the same data set by the same metric."""
    probe_of = {(one.row.source, one.row.metric): one.row for one in probes.deciding}
    return [
        Pair(one.row, probe_of[key])
        for one in zero_shot.deciding
        if (key := (one.row.source, one.row.metric)) in probe_of
        and np.isfinite([one.row.value, probe_of[key].value]).all()
    ]


def transfer_block(found: Sequence[Pair]) -> Plot | str:
    """Zero-shot over the linear probe of the same model, a point a data set; of fewer than two, a sentence.

    Source: Radford et al. 2021 (arXiv 2103.00020), figure 8.
    """
    if len(found) < 2:
        return _too_few(found, "the probes of the same model")
    with styled():
        figure = new_figure(6.3, 6.1)
        axes = figure.subplots()
        _draw_points(axes, found)
    return plot(figure, _transfer_caption(found))


def gain_block(found: Sequence[Pair], supervised: str) -> Plot | str:
    """Zero-shot less a supervised encoder's probe, a bar a data set, sorted; of fewer than two, a sentence.

    Args:
        found: Figures of both.
        supervised: Name of the supervised model.

    Source: Radford et al. 2021 (arXiv 2103.00020), figure 5.
    """
    if len(found) < 2:
        return _too_few(found, f"the probes of {supervised}")
    ordered = sorted(found, key=lambda pair: pair.gain)
    with styled():
        figure = new_figure(7.0, 0.75 + 0.21 * len(ordered))
        axes = figure.subplots()
        _draw_bars(axes, ordered, supervised)
    wins = sum(pair.gain > 0 for pair in ordered)
    worst, best = ordered[0], ordered[-1]
    caption = (
        f"Zero-shot classification is above the probe of {supervised} on {wins} of {len(ordered)} data sets: from "
        f"{signed(worst.gain)} points on {data_set(worst.probe)} to {signed(best.gain)} on "
        f"{data_set(best.probe)}. Resolved where the 95 % intervals of both do not overlap (full colour)."
    )
    return plot(figure, caption)


def _too_few(found: Sequence[Pair], probes: str) -> str:
    sets = f"only {data_set(found[0].probe)} is" if found else "none is"
    return (
        f"Zero-shot classification is drawn against {probes} from two data sets on which both were measured by one "
        f"metric; here {sets}."
    )


def _draw_points(axes: Axes, found: Sequence[Pair]) -> None:
    x, y = _percent([pair.probe for pair in found]), _percent([pair.zero_shot for pair in found])
    low = max(0.0, 5 * np.floor(min(x.min(), y.min()) / 5) - 5)
    axes.plot([low, 100], [low, 100], color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.text(low + 1, low + 2, "equal", color=FAINT, fontsize=7, rotation=45, rotation_mode="anchor")
    axes.hlines(y[0], x[1], x[2], color=BLUE, linewidth=0.9, alpha=0.6)
    axes.vlines(x[0], y[1], y[2], color=BLUE, linewidth=0.9, alpha=0.6)
    axes.scatter(x[0], y[0], s=22, color=BLUE, zorder=3)
    axes.set_xlim(low, 100.5)
    axes.set_ylim(low, 100.5)
    axes.set_aspect("equal")
    axes.set_xlabel("linear probe (%)")
    axes.set_ylabel("zero-shot (%)")
    # The farther from the diagonal, the more a name matters.
    order = np.argsort(-np.abs(y[0] - x[0]), kind="stable")
    name_points(axes, [Point(data_set(found[at].probe), x[0, at], y[0, at], *x[1:, at]) for at in order])


def _percent(rows: Sequence[Result]) -> Float[np.ndarray, "3 sets"]:
    """Values and both ends of their intervals; without one, the value itself."""
    return 100 * np.array([(row.value, *(row.interval or (row.value, row.value))) for row in rows]).T


def _transfer_caption(found: Sequence[Pair]) -> str:
    close = sum(abs(pair.gain) <= 0.03 for pair in found)
    above = sum(pair.gain > 0 for pair in found)
    text = (
        f"Zero-shot against the probe of the same features on {len(found)} data sets: above it on {above}, within 3 "
        f"points of it on {close}."
    )
    x, y = [pair.probe.value for pair in found], [pair.zero_shot.value for pair in found]
    if len(found) < FEWEST or not np.ptp(x) or not np.ptp(y):
        return text
    line = linear_relation(x, y)
    (r_low, r_high), (low, high) = line.correlation_interval, line.slope_interval
    relation = (
        f"Correlation r = {line.correlation:.2f} ({r_low:.2f} to {r_high:.2f}), slope {line.slope:.2f} ({low:.2f} to "
        f"{high:.2f})."
    )
    return f"{text} {with_minus(relation)}"


def _draw_bars(axes: Axes, ordered: Sequence[Pair], supervised: str) -> None:
    places = np.arange(len(ordered))
    gains = np.array([100 * pair.gain for pair in ordered])
    colours = [BLUE if gain > 0 else ORANGE for gain in gains]
    for place, gain, colour, pair in zip(places, gains, colours, ordered, strict=True):
        axes.barh(place, gain, height=0.7, color=colour, alpha=1.0 if _is_resolved(pair) else 0.4)
        axes.annotate(
            signed(gain / 100), (gain, place), (3 if gain >= 0 else -3, 0), textcoords="offset points",
            ha="left" if gain >= 0 else "right", va="center", fontsize=7.5, color=INK,
        )  # fmt: skip
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(places, [data_set(pair.probe) for pair in ordered])
    axes.tick_params(axis="y", colors=INK)
    axes.margins(x=0.12)
    axes.set_ylim(-0.7, len(ordered) - 0.3)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"zero-shot less the probe of {supervised} (percentage points)")


def _is_resolved(pair: Pair) -> bool:
    """Whether the intervals of both lie apart."""
    one, other = pair.zero_shot.interval, pair.probe.interval
    return one is not None and other is not None and (one[0] > other[1] or other[0] > one[1])
