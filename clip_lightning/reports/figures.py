"""The pictures of a run: how it learned, what it knows, what it sees. Each function returns a figure for ``save``."""

from collections.abc import Sequence

from jaxtyping import Int, UInt8
from matplotlib.figure import Figure
from numpy import ndarray as NDArray

from clip_lightning.reports.classes import class_accuracy, draw_classes, factor_names
from clip_lightning.reports.curves import History, draw_curves
from clip_lightning.reports.matches import columns_for, draw_matches
from clip_lightning.reports.style import new_figure, save, styled
from clip_lightning.results import Match

__all__ = ["learning_curves", "matches", "overview", "per_class_accuracy", "save"]

_PAGE_WIDTH = 10.0
_MATCHES_TITLE = "Images and their most probable captions: their own in green, others in orange"


def learning_curves(history: History) -> Figure:
    """Losses and accuracies over the steps of training.

    Args:
        history: Steps and values, or a ``Curve`` with intervals too, for each metric; a name whose last part has
            "loss" is a loss, all others are fractions.
    """
    with styled():
        figure = new_figure(_PAGE_WIDTH * 0.8, 2.8)
        draw_curves(figure, history)
    return figure


def per_class_accuracy(
    target: Int[NDArray, "samples"], preds: Int[NDArray, "samples"], class_names: Sequence[str]
) -> Figure:
    """Accuracy of each class: a square where the names combine two words ("red circle"), else sorted bars.

    Args:
        target: Right class of each sample.
        preds: Predicted class of each sample.
        class_names: One name a class, in the order of the labels.
    """
    bars = min(len(class_names), 21)
    with styled():
        figure = new_figure(5.2, 4.2 if factor_names(class_names) else 0.9 + 0.2 * bars)
        draw_classes(figure, class_accuracy(target, preds, len(class_names)), class_names)
    return figure


def matches(
    images: Sequence[UInt8[NDArray, "height width 3"]],
    captions: Sequence[Sequence[str]],
    scores: Sequence[Sequence[float]],
    correct: Sequence[Sequence[bool]],
) -> Figure:
    """Images, each with its most probable captions.

    Args:
        images: Pixels.
        captions: Candidates of each image, the most probable first.
        scores: Their probabilities, 0-1.
        correct: Whether each is right.

    Raises:
        ValueError: If they differ in number.
    """
    found = [Match(*match) for match in zip(images, captions, scores, correct, strict=True)]
    with styled():
        figure = new_figure(_PAGE_WIDTH, _matches_height(found))
        draw_matches(figure, found)
    return figure


def overview(
    history: History,
    target: Int[NDArray, "samples"],
    preds: Int[NDArray, "samples"],
    class_names: Sequence[str],
    found: Sequence[Match],
    title: str = "",
) -> Figure:
    """Curves, classes and matches on one page, 1500 pixels wide; a part that has nothing to show is left out.

    Args:
        history: As for ``learning_curves``.
        target: Right class of each sample.
        preds: Predicted class of each sample.
        class_names: One name a class; may be empty.
        found: Images with their captions; may be empty.
        title: Headline; none if empty.
    """
    heights = [3.6, *([_matches_height(found) + 0.35] if found else [])]
    with styled():
        figure = new_figure(_PAGE_WIDTH, sum(heights) + (0.35 if title else 0))
        upper, *lower = figure.subfigures(len(heights), 1, height_ratios=heights, hspace=0.04, squeeze=False)[:, 0]
        widths = [1.55, 1] if class_names else [1]
        left, *right = upper.subfigures(1, len(widths), width_ratios=widths, wspace=0.03, squeeze=False)[0]
        draw_curves(left, history)
        for part in right:
            draw_classes(part, class_accuracy(target, preds, len(class_names)), class_names)
        for part in lower:
            part.suptitle(_MATCHES_TITLE, x=0.01, ha="left", fontsize=9.5, fontweight="bold")
            draw_matches(part, found)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


def _matches_height(found: Sequence[Match]) -> float:
    """Inches: a row is as high as its captions need."""
    captions = max((len(match.captions) for match in found), default=1)
    return max(0.36 * captions, 1.0) * -(-len(found) // columns_for(found))
