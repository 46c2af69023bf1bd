"""A sheet of samples as a model sees them, each with its caption."""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy import ndarray as NDArray

from clip_lightning.reports.style import FAINT, INK, ORANGE, RULE, new_figure, styled

# All in inches.
WIDTH, MARGIN, GAP = 10.0, 0.15, 0.17
LINE, FACT = 0.148, 0.19
_MOST_LINES = 12


class Sample(NamedTuple):
    """One sample.

    Args:
        image: Pixels, as the model gets them.
        caption: Text, as the model gets it.
        is_cut: Whether the stored caption goes on behind it.
    """

    image: UInt8[NDArray, "height width 3"]
    caption: str
    is_cut: bool


def sheet(samples: Sequence[Sample], title: str, facts: Sequence[tuple[str, str]] = ()) -> Figure:
    """Images over their captions, six to a row, or four where captions are long; cut captions end in an orange mark.

    Args:
        samples: One at least.
        title: Headline.
        facts: Names and values that stand below it, a line each.
    """
    longest = max(len(sample.caption) for sample in samples)
    columns, letters = (6, 25) if longest <= 80 else (4, 40)
    side = (WIDTH - 2 * MARGIN - (columns - 1) * GAP) / columns
    texts = [_lines(sample.caption, letters) for sample in samples]
    # A row is as high as its longest caption, with the mark if that is cut.
    needed = [len(text) + sample.is_cut for sample, text in zip(samples, texts, strict=True)]
    lines = [max(needed[start : start + columns]) for start in range(0, len(samples), columns)]
    heights = [side + 0.07 + LINE * number + GAP for number in lines]
    head = MARGIN + 0.42 + FACT * len(facts)
    with styled():
        figure = new_figure(WIDTH, head + sum(heights))
        axes = new_page(figure, head + sum(heights))
        draw_head(axes, title, facts)
        for place, (sample, text) in enumerate(zip(samples, texts, strict=True)):
            row, column = divmod(place, columns)
            left, top = MARGIN + column * (side + GAP), head + sum(heights[:row])
            _draw_sample(axes, sample, text, left, top, side)
    return figure


def new_page(figure: Figure, height: float) -> Axes:
    """Axes over the whole page, in inches from its upper left corner."""
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(height, 0)
    axes.set_autoscale_on(False)
    axes.axis("off")
    return axes


def _lines(caption: str, letters: int) -> list[str]:
    """The caption in lines; of a very long one, the beginning and how much follows."""
    lines = textwrap.wrap(caption, letters) or ["(empty)"]
    if len(lines) > _MOST_LINES:
        rest = sum(map(len, lines[_MOST_LINES - 1 :]))
        lines = [*lines[: _MOST_LINES - 1], f"(and {rest:,} more characters)"]
    return lines


def draw_head(axes: Axes, title: str, facts: Sequence[tuple[str, str]]) -> None:
    """The headline, and below it names and values, a line each."""
    axes.text(MARGIN, MARGIN, title, fontsize=12, fontweight="bold", va="top")
    for place, (name, value) in enumerate(facts):
        y = MARGIN + 0.3 + FACT * place
        axes.text(MARGIN, y, name, color=FAINT, va="top")
        axes.text(MARGIN + 0.85, y, value, color=INK, va="top")


def _draw_sample(axes: Axes, sample: Sample, lines: Sequence[str], left: float, top: float, side: float) -> None:
    """An image and the caption below it."""
    axes.imshow(
        sample.image,
        extent=(left, left + side, top + side, top),
        aspect="auto",
        interpolation="nearest" if max(sample.image.shape) <= 64 else "antialiased",
    )
    axes.add_patch(Rectangle((left, top), side, side, fill=False, edgecolor=RULE, linewidth=0.7))
    coloured = [(line, INK) for line in lines]
    if sample.is_cut:
        coloured.append(("… cut to the context", ORANGE))
    for number, (line, colour) in enumerate(coloured):
        axes.text(left, top + side + 0.07 + LINE * number, line, color=colour, fontsize=7.5, va="top")
