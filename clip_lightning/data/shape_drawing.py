"""Pictures of coloured shapes and short texts, drawn with numpy alone: no font, no file, the same on any machine."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8

SIDE = 32
_OVERSAMPLING = 2
# Width of an outline, in points of the finer grid.
_STROKE = 2

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (210, 40, 40),
    "green": (45, 155, 60),
    "blue": (45, 75, 210),
    "yellow": (220, 200, 45),
    "purple": (125, 45, 160),
    "orange": (225, 120, 30),
    "cyan": (45, 185, 200),
    "pink": (230, 125, 175),
}

# The grey levels of the even and of the odd stripes.
BACKGROUNDS: dict[str, tuple[int, int]] = {
    "white": (235, 235),
    "black": (25, 25),
    "gray": (130, 130),
    "striped": (90, 180),
}
_STRIPE_WIDTH = 4

# A 5x7 bitmap font: one character a row, from the top, whose value in base 32 holds the row's five pixels.
_GLYPHS = """
A ehhvhhh B uhhuhhu C ehggghe D uhhhhhu E vgguggv F vgguggg G ehgnhhe H hhhvhhh I e44444e J 72222ic K hikokih L ggggggv
M hrllhhh N hhpljhh O ehhhhhe P uhhuggg Q ehhhlid R uhhukih S fgge11u T v444444 U hhhhhhe V hhhhha4 W hhhllla X hha4ahh
Y hhha444 Z v1248gv 0 ehjlphe 1 4c4444e 2 eh1248v 3 v2421he 4 26aiv22 5 vgu11he 6 68guhhe 7 v124888 8 ehhehhe 9 ehhf12c
"""
_FONT = dict(zip(_GLYPHS.split()[::2], _GLYPHS.split()[1::2], strict=True))

Grid = Float32[np.ndarray, "marks height width"]
Mask = Bool[np.ndarray, "marks height width"]


@dataclass(frozen=True)
class Mark:
    """One thing in a picture.

    Args:
        what: Name of a shape, or else a text of letters and digits.
        colour: Name of its colour.
        x: Centre from the left edge, in pixels.
        y: Centre from the top edge, in pixels.
        radius: Nominal radius of a shape, none of which reaches beyond 1.1 of it; half the width of a text; in pixels.
        angle: Clockwise rotation, in radians.
        brightness: Factor on the colour.
    """

    what: str
    colour: str
    x: float
    y: float
    radius: float
    angle: float
    brightness: float


@dataclass(frozen=True)
class Picture:
    """What is to be drawn.

    Args:
        background: Name of the background.
        marks: Things on it; where they overlap, later ones cover earlier ones.
        noise: Arguments of ``stream`` for the noise of the pixels.
    """

    background: str
    marks: tuple[Mark, ...]
    noise: tuple[int, int, int, int]


def stream(seed: int, split: int, index: int, purpose: int) -> np.random.Generator:
    """Random numbers of their own for each purpose of each scene.

    Philox counts instead of mixing seeds: it starts three times as fast as a seed sequence, and no streams overlap.
    """
    return np.random.Generator(np.random.Philox(key=[seed, split], counter=[0, 0, index, purpose]))


def _triangle(u: Grid, v: Grid) -> Mask:
    inside: Mask = (v < 0.57) & (np.abs(u) * 1.8 - v < 1.1)
    return inside


def _diamond(u: Grid, v: Grid) -> Mask:
    inside: Mask = np.abs(u) / 0.72 + np.abs(v) / 1.1 < 1
    return inside


def _cross(u: Grid, v: Grid) -> Mask:
    u, v = np.abs(u), np.abs(v)
    inside: Mask = (np.minimum(u, v) < 0.33) & (np.maximum(u, v) < 1)
    return inside


def _star(u: Grid, v: Grid) -> Mask:
    """Folds the plane onto a tenth of a turn: the edge runs there from a tip (outer, 0) to a notch (inner, tenth)."""
    outer, inner, tenth = 1.1, 0.46, np.pi / 5
    turn, distance = np.arctan2(u, -v), np.hypot(u, v)
    folded = np.abs(turn - 2 * tenth * np.round(turn / (2 * tenth)))
    notch_along, notch_across = inner * np.cos(tenth), inner * np.sin(tenth)
    slack = (outer - distance * np.cos(folded)) * notch_across - distance * np.sin(folded) * (outer - notch_along)
    inside: Mask = slack > 0
    return inside


# Inside or outside, at coordinates right and down of the centre in units of the radius.
SHAPES: dict[str, Callable[[Grid, Grid], Mask]] = {
    "circle": lambda u, v: u * u + v * v < 0.9,
    "square": lambda u, v: np.maximum(np.abs(u), np.abs(v)) < 0.77,
    "triangle": _triangle,
    "diamond": _diamond,
    "cross": _cross,
    "ring": lambda u, v: np.abs(u * u + v * v - 0.65) < 0.35,
    "star": _star,
    "bar": lambda u, v: (np.abs(u) < 1.04) & (np.abs(v) < 0.35),
}


def bitmap(text: str) -> Bool[np.ndarray, "rows columns"]:
    """The cells of a text: glyphs of 5x7 with an empty column between them."""
    rows = np.array([[int(row, 32) << 1 for row in _FONT[letter]] for letter in text.upper()])
    glyphs = rows[:, :, None] >> np.arange(5, -1, -1) & 1
    return np.concatenate(list(glyphs), axis=1)[:, :-1].astype(bool)


def _inside_text(text: str, u: Grid, v: Grid) -> Mask:
    cells = np.pad(bitmap(text), 1)
    height, width = cells.shape
    half_width = (width - 2) / 2
    row = np.clip(np.floor(v * half_width + height / 2), 0, height - 1).astype(np.intp)
    column = np.clip(np.floor(u * half_width + width / 2), 0, width - 1).astype(np.intp)
    inside: Mask = cells[row, column]
    return inside


def _outlined(covered: Mask) -> Mask:
    """What lies within a stroke of the edge of a mark, inside of it."""
    inside = covered
    for _ in range(_STROKE):
        wide = np.pad(inside, ((0, 0), (1, 1), (1, 1)))
        inside = inside & wide[:, 2:, 1:-1] & wide[:, :-2, 1:-1] & wide[:, 1:-1, 2:] & wide[:, 1:-1, :-2]
    edge: Mask = covered & ~inside
    return edge


def _coverage(marks: Sequence[Mark], outline: bool) -> Float32[np.ndarray, "marks side side"]:
    """Share of each pixel that a mark covers, from the points of a finer grid."""
    fine = SIDE * _OVERSAMPLING
    points = ((np.arange(fine) + 0.5) / _OVERSAMPLING).astype(np.float32)
    groups = defaultdict(list)
    for row, mark in enumerate(marks):
        groups[mark.what].append(row)
    covered = np.empty((len(marks), fine, fine), bool)
    for what, rows in groups.items():
        columns = [(marks[row].x, marks[row].y, np.cos(marks[row].angle), np.sin(marks[row].angle)) for row in rows]
        x, y, cos, sin = np.array(columns, np.float32).T[:, :, None, None]
        radius = np.array([marks[row].radius for row in rows], np.float32)[:, None, None]
        right, down = (points[None, None] - x) / radius, (points[None, :, None] - y) / radius
        u, v = right * cos + down * sin, down * cos - right * sin
        covered[rows] = SHAPES[what](u, v) if what in SHAPES else _inside_text(what, u, v)
    if outline:
        covered = _outlined(covered)
    cells = covered.reshape(len(marks), SIDE, _OVERSAMPLING, SIDE, _OVERSAMPLING)
    counts = sum(cells[:, :, i, :, j].astype(np.float32) for i in range(_OVERSAMPLING) for j in range(_OVERSAMPLING))
    return np.asarray(counts / np.float32(_OVERSAMPLING**2))


def _backgrounds(names: Sequence[str]) -> Float32[np.ndarray, "pictures side side 3"]:
    stripe = np.arange(SIDE) // _STRIPE_WIDTH % 2
    rows = np.array([BACKGROUNDS[name] for name in names], np.float32)[:, stripe]
    return np.broadcast_to(rows[:, None, :, None], (len(names), SIDE, SIDE, 3)).copy()


def draw(
    pictures: Sequence[Picture], noise: float = 6.0, outline: bool = False
) -> UInt8[np.ndarray, "pictures side side 3"]:
    """Draws pictures at twice their size, averages every 2x2 points to a pixel and adds noise.

    Marks are averaged before they are laid on the background, which gives the same since backgrounds are even within
    a pixel.

    Args:
        pictures: At least one.
        noise: Standard deviation of the normal noise on every channel of every pixel, in levels of 0-255.
        outline: Whether of each mark only a line of a pixel along its edge is drawn.
    """
    canvas = _backgrounds([picture.background for picture in pictures])
    for layer in range(max(len(picture.marks) for picture in pictures)):
        rows = [row for row, picture in enumerate(pictures) if len(picture.marks) > layer]
        marks = [pictures[row].marks[layer] for row in rows]
        colours = np.array([COLOURS[mark.colour] for mark in marks], np.float32)
        colours *= np.array([mark.brightness for mark in marks], np.float32)[:, None]
        below = canvas[rows]
        canvas[rows] = below + _coverage(marks, outline)[..., None] * (colours[:, None, None] - below)
    for picture_canvas, picture in zip(canvas, pictures, strict=True):
        picture_canvas += np.float32(noise) * stream(*picture.noise).standard_normal(picture_canvas.shape, np.float32)
    pixels: UInt8[np.ndarray, "pictures side side 3"] = np.rint(canvas).clip(0, 255).astype(np.uint8)
    return pixels
