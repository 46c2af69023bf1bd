"""Names beside points that cover neither points nor each other."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes

from clip_lightning.reports.style import INK

# Of the width of the axes, for letters of size 7.
_LETTER, _LINE, _GAP = 0.0099, 0.022, 0.012


class Point(NamedTuple):
    """A point that may get a name.

    Args:
        name: To stand beside it.
        x: Where it is.
        y: Where it is.
        left: Where its horizontal interval begins.
        right: Where that ends.
    """

    name: str
    x: float
    y: float
    left: float
    right: float


class _Spot(NamedTuple):
    """Where a name would stand."""

    start: float
    end: float
    y: float


def name_points(axes: Axes, points: Sequence[Point]) -> None:
    """Names points on square axes, the first ones first; where no room is left, a point has no name.

    Args:
        axes: With both limits set, of equal length.
        points: Those that matter most first.
    """
    low, high = axes.get_xlim()
    size = high - low
    taken = [_Spot(point.x - _GAP * size / 2, point.x + _GAP * size / 2, point.y) for point in points]
    for point in points:
        for spot in _spots(point, size):
            inside = low < spot.start and spot.end < high
            if inside and not any(_overlap(spot, other, _LINE * size) for other in taken):
                taken.append(spot)
                center = (spot.start + spot.end) / 2
                axes.text(center, spot.y, point.name, fontsize=7, color=INK, va="center", ha="center")
                break


def _spots(point: Point, size: float) -> Iterator[_Spot]:
    """Beside the ends of the interval, below the point, above it."""
    width, gap, step = _LETTER * size * len(point.name), _GAP * size, 1.4 * _LINE * size
    yield _Spot(point.right + gap, point.right + gap + width, point.y)
    yield _Spot(point.left - gap - width, point.left - gap, point.y)
    for y in (point.y - step, point.y + step):
        yield _Spot(point.x - width / 2, point.x + width / 2, y)


def _overlap(one: _Spot, other: _Spot, line: float) -> bool:
    return abs(one.y - other.y) < line and one.start < other.end and other.start < one.end
