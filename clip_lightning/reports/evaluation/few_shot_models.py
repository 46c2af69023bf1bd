"""Few-shot probes of several image encoders in one picture, with zero-shot classification of those that take texts."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from clip_lightning.reports.document import Plot
from clip_lightning.reports.evaluation.evaluated import Evaluated, families
from clip_lightning.reports.evaluation.few_shot import label_shots
from clip_lightning.reports.style import PALETTE, new_figure, plot, styled
from clip_lightning.results import counted, printed

Curve = dict[str, Any]
Means = Float[np.ndarray, "shots"]


def few_shot_models_plot(models: Sequence[Evaluated]) -> Plot | None:
    """Figures over the number of labelled images a class, the mean over data sets; None of fewer than two encoders.

    Args:
        models: Those without curves are passed over.

    Source: Radford et al. 2021 (arXiv 2103.00020), figure 6.
    """
    curves = {model.name: found for model in models if (found := _curves(model))}
    common = sorted(set.intersection(*map(set, curves.values()))) if curves else []
    if len(curves) < 2 or not common:
        return None
    of_each = {name: [found[key] for key in common] for name, found in curves.items()}
    # The last point, of all training images, is another number on each data set.
    shots = sorted(set.intersection(*(_shots(curve) for found in of_each.values() for curve in found)))
    means = {name: _means(found, shots) for name, found in of_each.items()}
    levels = {name: level for name, found in of_each.items() if (level := _zero_shot(found)) is not None}
    with styled():
        figure = new_figure(6.3, 4.2)
        _draw(figure.subplots(), shots, means, levels)
    return plot(figure, _caption(shots, means, levels, len(common)))


def _draw(axes: Axes, shots: Sequence[float], means: Mapping[str, Means], levels: Mapping[str, float]) -> None:
    for (name, mean), colour in zip(means.items(), cycle(PALETTE), strict=False):
        axes.plot(shots, 100 * mean, "o-", color=colour, markersize=4, label=name)
        if name in levels:
            axes.axhline(
                100 * levels[name], color=colour, linewidth=1.4, linestyle=(0, (5, 2)), label=f"{name}, zero-shot"
            )
    label_shots(axes, shots)
    axes.set_xlabel("labelled images of each class")
    axes.set_ylabel("figure (%)")
    axes.legend(frameon=False)


def _curves(model: Evaluated) -> dict[str, Curve]:
    """Curves of a model by evaluator and data set."""
    rows = [row for family in families(model) for row in family.detailed("few_shot_curve")]
    return {row.name: row.details for row in rows if row.details}


def _shots(curve: Curve) -> set[float]:
    return {float(point["shots"]) for point in curve["points"] if len(point["values"]) > 1}


def _means(curves: Sequence[Curve], shots: Sequence[float]) -> Means:
    means = [{float(point["shots"]): float(point["mean"]) for point in curve["points"]} for curve in curves]
    return np.array([np.mean([one[shot] for one in means]) for shot in shots])


def _zero_shot(curves: Sequence[Curve]) -> float | None:
    """The mean over data sets; None where the model takes no texts."""
    levels = [curve.get("zero_shot") for curve in curves]
    return None if None in levels else float(np.mean([float(level) for level in levels if level is not None]))


def _caption(shots: Sequence[float], means: Mapping[str, Means], levels: Mapping[str, float], data_sets: int) -> str:
    mean = "" if data_sets == 1 else f", the mean of {counted(data_sets, 'data set')}"
    ends = ", ".join(f"{name} {printed(float(values[-1]))} %" for name, values in means.items())
    zero_shot = ", ".join(f"{name} {printed(level)} %" for name, level in levels.items())
    text = f"Probes of few images{mean}. With {counted(round(shots[-1]), 'image')} a class: {ends}."
    return f"{text} Dashed, zero-shot classification: {zero_shot}." if zero_shot else text
