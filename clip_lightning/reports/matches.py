"""Images with the captions that a model finds most like them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from numpy import ndarray as NDArray

from clip_lightning.reports.style import FAINT, GREEN, INK, ORANGE, RULE
from clip_lightning.results import Match


def columns_for(matches: Sequence[Match]) -> int:
    """Three short captions fit side by side on a page, but only two long ones."""
    longest = max((len(caption) for match in matches for caption in match.captions), default=0)
    return min(len(matches), 3 if longest <= 30 else 2) or 1


def draw_matches(figure: FigureBase, matches: Sequence[Match]) -> None:
    """Draws a grid of images, each with its captions on bars as long as their probabilities, right ones in green."""
    columns = columns_for(matches)
    rows = -(-len(matches) // columns)
    bars, gap, letters = (2.1, 0.12, 32) if columns == 3 else (3.6, 0.2, 47)
    grid = figure.add_gridspec(max(rows, 1), 3 * columns - 1, width_ratios=([1, bars, gap] * columns)[:-1])
    for place, match in enumerate(matches):
        row, column = divmod(place, columns)
        _draw_image(figure.add_subplot(grid[row, 3 * column]), match.image)
        _draw_captions(figure.add_subplot(grid[row, 3 * column + 1]), match, letters)


def _draw_image(axes: Axes, image: UInt8[NDArray, "height width 3"]) -> None:
    axes.imshow(image, interpolation="nearest" if max(image.shape) <= 64 else "antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(True)
    axes.spines[:].set_edgecolor(RULE)


def _draw_captions(axes: Axes, match: Match, letters: int) -> None:
    """Each caption stands over its bar, so that long captions and short bars do not get into each other's way."""
    scores = np.asarray(match.scores, dtype=float)
    colours = [GREEN if right else ORANGE for right in match.correct]
    rows = np.arange(len(scores))
    axes.barh(rows + 0.28, np.ones(len(scores)), height=0.16, color=RULE)
    axes.barh(rows + 0.28, scores, height=0.16, color=colours)
    for row, (caption, score, colour) in enumerate(zip(match.captions, scores, colours, strict=True)):
        text = caption if len(caption) <= letters else caption[: letters - 1].rstrip() + "…"
        weight = "bold" if colour == GREEN else "normal"
        axes.text(0, row - 0.02, text, va="center", color=INK, fontsize=7.5, fontweight=weight)
        axes.text(1, row - 0.02, f"{100 * score:.0f} %", va="center", ha="right", color=FAINT, fontsize=7.5)
    axes.set_xlim(0, 1)
    axes.set_ylim(len(scores) - 0.5, -0.5)
    axes.axis("off")
