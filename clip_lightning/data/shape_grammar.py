"""What the scenes of ShapeScenes hold, and how their captions put it."""

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from clip_lightning.data.shape_drawing import BACKGROUNDS, COLOURS, SHAPES, SIDE, Mark, Picture, bitmap, stream
from clip_lightning.data.shape_parts import PARTS, Kind, Split

Pair = tuple[str, str]
Box = tuple[float, float, float, float]
Swap = Literal["order", "colour"]
_Item = TypeVar("_Item")

PAIRS: list[Pair] = [(colour, shape) for colour in COLOURS for shape in SHAPES]
# Two of the eight diagonals of the square of colours and shapes: each colour and each shape lacks exactly two.
HELD_OUT = [pair for i, pair in enumerate(PAIRS) if (i // 8 - i % 8) % 8 in (0, 3)]
SEEN = [pair for pair in PAIRS if pair not in HELD_OUT]
WORDS = ["cat", "dog", "sun", "sky", "car", "hat", "key", "cup", "bus", "pen"]
DIGITS = list("0123456789")
PLEASANT, UNPLEASANT = ["fun", "joy", "wow"], ["bad", "sad", "ill"]
_TEXTS: dict[Kind, list[str]] = {
    **{"text": [*WORDS, *DIGITS], "word": WORDS, "digit": DIGITS},
    "sentiment": [*PLEASANT, *UNPLEASANT],
}

SIZES = ("small", "large")
# How often each colour of a long tail occurs, as a ratio to the one before it.
_DECAY = 0.65
_TAIL = list(itertools.accumulate(_DECAY**rank for rank in range(len(COLOURS))))
_WHOLE: Box = (0, 0, SIDE, SIDE)
# Radii of shapes, as large as the place that they share allows, and sides of a text's cells, in pixels.
_ALONE, _COUPLED, _CROWDED = {"small": 5.0, "large": 9.0}, {"small": 4.5, "large": 7.0}, {"small": 3.2, "large": 4.6}
_WORD_CELL, _DIGIT_CELL = {"small": 1.25, "large": 1.6}, {"small": 1.6, "large": 2.6}

SYNONYMS = {
    **{"red": "crimson", "green": "emerald", "blue": "navy", "yellow": "golden"},
    **{"purple": "violet", "orange": "tangerine", "cyan": "turquoise", "pink": "rosé"},
    **{"circle": "disc", "square": "box", "triangle": "wedge", "diamond": "rhombus"},
    **{"cross": "plus", "ring": "hoop", "star": "asterisk", "bar": "stripe"},
}
_NUMBERS = ("no", "one", "two", "three", "four", "five")
_PREFIXES = (
    ("a photo of ", "a photo of "),
    ("a picture of ", "a picture of "),
    ("there is ", "there are "),
    ("this is ", "these are "),
    ("", ""),
)
# Longer than any context; rare, since one of them sets the length of a whole batch.
_RAMBLING = (
    "here is one of the many pictures that a rather short program drew with some care and no help at all, and if you "
    "look at it closely enough, you will see that somewhere in it there is or there are "
)
_RAMBLING_SHARE = 1 / 4_000


@dataclass(frozen=True)
class Scene:
    """What is in a scene.

    Args:
        identity: Seed, number of the split, and index.
        picture: How it is drawn.
        sizes: "small" or "large" for each mark.
        relation: "left of" or "above", from the first of two marks to the second; empty if they are equal or alone.
    """

    identity: tuple[int, int, int]
    picture: Picture
    sizes: tuple[str, ...]
    relation: str = ""


class _Dice:
    """Decisions, from a stream of random numbers."""

    def __init__(self, random: np.random.Generator) -> None:
        self._uniform = iter(random.random(96).tolist())

    def chance(self, probability: float) -> bool:
        return bool(next(self._uniform) < probability)

    def between(self, low: float, high: float) -> float:
        return float(low + (high - low) * next(self._uniform))

    def pick(self, items: Sequence[_Item]) -> _Item:
        return items[int(next(self._uniform) * len(items))]


def compose(split: Split, index: int, seed: int = 0) -> Scene:
    """Decides what a scene holds: for training 60 % one shape, 15 % one to five equal ones, 15 % a text, 10 % a couple.

    Args:
        split: Part of the benchmark; the held-out pairs are in "heldout" alone.
        index: Number of the scene in its split, from 0.
        seed: Of the whole benchmark.
    """
    identity = (seed, list(PARTS).index(split), index)
    dice = _Dice(stream(*identity, 0))
    kind = PARTS[split].kind
    if kind == "mixture":
        kind = _of_mixture(dice.between(0, 1))
    background = dice.pick(list(BACKGROUNDS))
    relation = dice.pick(("left of", "above")) if kind in ("couple", "swap") else ""
    marks, sizes = zip(*_marks(dice, kind, relation), strict=True)
    return Scene(identity, Picture(background, marks, (*identity, 2)), sizes, relation)


def _of_mixture(share: float) -> Kind:
    bounds: tuple[tuple[float, Kind], ...] = ((0.6, "single"), (0.75, "group"), (0.9, "text"))
    return next((kind for bound, kind in bounds if share < bound), "couple")


def _marks(dice: _Dice, kind: Kind, relation: str) -> list[tuple[Mark, str]]:
    """What a scene of a kind holds, and of which size."""
    if kind == "group":
        return _group(dice)
    if relation:
        return _couple(dice, relation, kind == "swap")
    if kind in _TEXTS:
        return [_text(dice, _TEXTS[kind])]
    pairs = HELD_OUT if kind == "heldout" else _of_a_tail_colour(dice) if kind == "tail" else SEEN
    sizes = ("small", "small", "small", "large") if kind == "small" else SIZES
    return [_shape(dice, dice.pick(pairs), _ALONE, _WHOLE, sizes)]


def _mark(dice: _Dice, what: str, colour: str, radius: float, box: Box) -> Mark:
    """Turns a thing at random and puts it at a random place of a box (left, top, right, bottom) that it fits into."""
    angle = dice.between(-0.3, 0.3)
    across = down = 1.1 * radius
    if what not in SHAPES:
        rows, columns = bitmap(what).shape
        cos, sin, height = np.cos(angle), abs(np.sin(angle)), rows / columns
        across, down = radius * (cos + height * sin), radius * (height * cos + sin)
    x = dice.between(box[0] + across, box[2] - across)
    y = dice.between(box[1] + down, box[3] - down)
    return Mark(what, colour, x, y, radius, angle, dice.between(0.85, 1.15))


def _of_a_tail_colour(dice: _Dice) -> list[Pair]:
    """The pairs of a colour, of which early ones come often."""
    rank = bisect.bisect(_TAIL, dice.between(0, _TAIL[-1]))
    return [pair for pair in SEEN if pair[0] == list(COLOURS)[rank]]


def _shape(
    dice: _Dice, pair: Pair, radii: dict[str, float], box: Box, sizes: Sequence[str] = SIZES
) -> tuple[Mark, str]:
    size = dice.pick(sizes)
    return _mark(dice, pair[1], pair[0], radii[size], box), size


def _group(dice: _Dice) -> list[tuple[Mark, str]]:
    """Equal shapes in different cells of a 3x3 grid."""
    number, size, (colour, shape) = dice.pick((1, 2, 3, 4, 5)), dice.pick(SIZES), dice.pick(SEEN)
    cells, side = list(range(9)), SIDE / 3
    chosen = [cells.pop(dice.pick(range(len(cells)))) for _ in range(number)]
    corners = [(cell % 3 * side, cell // 3 * side) for cell in chosen]
    boxes = [(x, y, x + side, y + side) for x, y in corners]
    return [(_mark(dice, shape, colour, _CROWDED[size], box), size) for box in boxes]


def _couple(dice: _Dice, relation: str, can_swap: bool) -> list[tuple[Mark, str]]:
    """Two different pairs, one in each half, and if asked for such that they could exchange their colours."""
    first = dice.pick(SEEN)
    second = dice.pick([pair for pair in SEEN if (_can_swap(first, pair) if can_swap else pair != first)])
    half = SIDE / 2
    if relation == "left of":
        return [
            _shape(dice, first, _COUPLED, (0, 0, half, SIDE)),
            _shape(dice, second, _COUPLED, (half, 0, SIDE, SIDE)),
        ]
    return [_shape(dice, first, _COUPLED, (0, 0, SIDE, half)), _shape(dice, second, _COUPLED, (0, half, SIDE, SIDE))]


def _can_swap(one: Pair, other: Pair) -> bool:
    """Whether two pairs that exchange their colours are two others, and neither is held out."""
    swapped = {(one[0], other[1]), (other[0], one[1])}
    return not swapped & {one, other} and swapped <= set(SEEN)


def _text(dice: _Dice, texts: Sequence[str]) -> tuple[Mark, str]:
    text, colour, size = dice.pick(texts), dice.pick(list(COLOURS)), dice.pick(SIZES)
    cell = (_DIGIT_CELL if text.isdigit() else _WORD_CELL)[size]
    return _mark(dice, text, colour, cell * bitmap(text).shape[1] / 2, (0, 0, SIDE, SIDE)), size


def captions_of(scene: Scene) -> tuple[str, ...]:
    """Five captions, which may repeat. One in five leaves the colour out, one in ten the shape, some use synonyms."""
    dice = _Dice(stream(*scene.identity, 1))
    return tuple(_caption(dice, scene) for _ in range(5))


def _caption(dice: _Dice, scene: Scene) -> str:
    marks = scene.picture.marks
    if marks[0].what not in SHAPES:
        name = "digit" if marks[0].what.isdigit() else "word"
        return dice.pick((f"the {name} ", "a sign that says ", "text reading ")) + marks[0].what
    number = 1 if scene.relation else len(marks)
    prefix = dice.pick(_PREFIXES)[number > 1]
    if dice.chance(_RAMBLING_SHARE):
        prefix = _RAMBLING
    text = prefix + _phrase(dice, marks[0], scene.sizes[0], number)
    if scene.relation:
        return f"{text} {scene.relation} {_phrase(dice, marks[1], scene.sizes[1], 1)}"
    return f"{text} on a {scene.picture.background} background" if dice.chance(0.3) else text


def _phrase(dice: _Dice, mark: Mark, size: str, number: int) -> str:
    """Such as "a small red circle" or "three bars"."""
    words = [size] if dice.chance(0.3) else []
    if not dice.chance(0.2):
        words.append(SYNONYMS[mark.colour] if dice.chance(0.05) else mark.colour)
    shape = "shape" if dice.chance(0.1) else SYNONYMS[mark.what] if dice.chance(0.05) else mark.what
    if number > 1:
        words.append(shape + ("es" if shape[-1] in "sx" else "s"))
        return " ".join(["several" if dice.chance(0.1) else _NUMBERS[number], *words])
    words.append(shape)
    article = "one" if dice.chance(0.2) else "an" if words[0][0] in "aeo" else "a"
    return " ".join([article, *words])


def swapped_captions(scene: Scene, swap: Swap) -> tuple[str, str]:
    """What a scene of two shapes shows, in full, and the same with their order or their colours exchanged."""
    (first, second), relation = scene.picture.marks, scene.relation
    colours, shapes = [first.colour, second.colour], [first.what, second.what]
    right = _relate(colours, relation, shapes)
    colours.reverse()
    if swap == "order":
        shapes.reverse()
    return right, _relate(colours, relation, shapes)


def _relate(colours: Sequence[str], relation: str, shapes: Sequence[str]) -> str:
    first, second = (
        f"{'an' if colour[0] in 'aeo' else 'a'} {colour} {shape}" for colour, shape in zip(colours, shapes, strict=True)
    )
    return f"{first} {relation} {second}"
