"""A sheet of photographs with what a model says of each."""

from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy import ndarray as NDArray

from clip_lightning.reports.sheet import FACT, GAP, LINE, MARGIN, WIDTH, draw_head, new_page
from clip_lightning.reports.style import BLUE, FAINT, INK, ORANGE, RULE, new_figure, styled

_COLUMNS = 5
_SIDE = (WIDTH - 2 * MARGIN - (_COLUMNS - 1) * GAP) / _COLUMNS
_LETTERS, _BOLD_LETTERS, _SMALL_LETTERS = 29, 25, 31
_BAR, _BAR_GAP = 0.045, 0.065
_GROUND = "#f3f4f6"


class Line(NamedTuple):
    """A line below a photograph.

    Args:
        text: What it says, such as a class.
        value: A number that stands at its right end; may be empty.
        share: Length of the bar below it, 0-1; no bar if None.
    """

    text: str
    value: str = ""
    share: float | None = None


class Photo(NamedTuple):
    """A photograph.

    Args:
        image: Pixels of any shape, or why there are none.
        name: What it is called; of a long name the end is shown.
        lines: What stands below it.
        is_marked: Whether it has a frame, as the one that others are compared with.
    """

    image: UInt8[NDArray, "height width 3"] | str
    name: str
    lines: Sequence[Line]
    is_marked: bool = False


def photo_sheet(photos: Sequence[Photo], title: str, facts: Sequence[tuple[str, str]] = ()) -> Figure:
    """Whole photographs, five to a row, each over its name and its lines.

    Args:
        photos: One at least.
        title: Headline.
        facts: Names and values that stand below it, a line each.
    """
    needed = [sum(_height(line) for line in photo.lines) for photo in photos]
    rows = [_SIDE + 0.07 + LINE + max(needed[at : at + _COLUMNS]) + GAP for at in range(0, len(photos), _COLUMNS)]
    head = MARGIN + 0.42 + FACT * len(facts)
    with styled():
        figure = new_figure(WIDTH, head + sum(rows))
        axes = new_page(figure, head + sum(rows))
        draw_head(axes, title, facts)
        for place, photo in enumerate(photos):
            row, column = divmod(place, _COLUMNS)
            _draw(axes, photo, MARGIN + column * (_SIDE + GAP), head + sum(rows[:row]))
    return figure


def _height(line: Line) -> float:
    return LINE + (0 if line.share is None else _BAR + _BAR_GAP)


def _draw(axes: Axes, photo: Photo, left: float, top: float) -> None:
    """A photograph with what stands below it."""
    _draw_image(axes, photo, left, top)
    y = top + _SIDE + 0.07
    axes.text(left, y, _end(photo.name, _SMALL_LETTERS), color=FAINT, fontsize=6.5, va="top")
    y += LINE
    for number, line in enumerate(photo.lines):
        room, weight = (_LETTERS, "normal") if number else (_BOLD_LETTERS, "bold")
        room -= len(line.value)
        text = line.text if len(line.text) <= room else line.text[: room - 1].rstrip() + "…"
        axes.text(left, y, text, color=INK, fontsize=7.5, va="top", fontweight=weight)
        axes.text(left + _SIDE, y, line.value, color=FAINT, fontsize=7.5, va="top", ha="right")
        if line.share is not None:
            for length, colour in ((1.0, RULE), (line.share, BLUE)):
                axes.add_patch(Rectangle((left, y + LINE - 0.005), _SIDE * length, _BAR, color=colour, linewidth=0))
        y += _height(line)


def _draw_image(axes: Axes, photo: Photo, left: float, top: float) -> None:
    """The whole photograph in the middle of its square, or the reason that there is none."""
    edge, width = (ORANGE, 2.0) if photo.is_marked else (RULE, 0.7)
    axes.add_patch(Rectangle((left, top), _SIDE, _SIDE, facecolor=_GROUND, edgecolor="none", zorder=-1))
    if isinstance(photo.image, str):
        axes.text(
            left + _SIDE / 2, top + _SIDE / 2, photo.image, color=FAINT, fontsize=7, ha="center", va="center", wrap=True
        )
    else:
        height, wide = photo.image.shape[:2]
        scale = _SIDE / max(height, wide)
        across, down = (_SIDE - wide * scale) / 2, (_SIDE - height * scale) / 2
        axes.imshow(
            photo.image,
            extent=(left + across, left + _SIDE - across, top + _SIDE - down, top + down),
            aspect="auto",
            interpolation="nearest" if max(height, wide) <= 64 else "antialiased",
        )
    axes.add_patch(Rectangle((left, top), _SIDE, _SIDE, fill=False, edgecolor=edge, linewidth=width))


def _end(name: str, letters: int) -> str:
    """The end of a long name, which tells more than its beginning."""
    return name if len(name) <= letters else "…" + name[1 - letters :]
