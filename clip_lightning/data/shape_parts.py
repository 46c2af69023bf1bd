"""The parts of ShapeScenes: what the scenes of each hold, and how many there are."""

from typing import Literal, NamedTuple

Split = Literal[
    "train",
    "val",
    "test",
    "heldout",
    "probe_train",
    "probe_val",
    "probe_test",
    "tail_train",
    "tail_val",
    "tail_test",
    "couple_train",
    "couple_val",
    "couple_test",
    "count",
    "word",
    "digit",
    "sentiment",
    "captions",
    "swap",
    "resample",
    "hard",
]
Kind = Literal[
    "mixture", "single", "heldout", "small", "tail", "couple", "swap", "group", "text", "word", "digit", "sentiment"
]


class Part(NamedTuple):
    """A part of the benchmark.

    Args:
        kind: What its scenes hold. "single" is one shape, "small" one that is small in three of four scenes, "heldout"
            one of the held-out pairs; of "tail" each colour is rarer than the one before; "couple" is two shapes, and
            "swap" two whose colours may be exchanged without a held-out pair; "group" is one to five equal shapes.
            "text" is a word or a digit.
        size: Number of scenes, unless another one is asked for.
    """

    kind: Kind
    size: int


PARTS: dict[Split, Part] = {
    "train": Part("mixture", 16_384),
    "val": Part("single", 512),
    "test": Part("single", 1_000),
    "heldout": Part("heldout", 400),
    "probe_train": Part("single", 1_500),
    "probe_val": Part("single", 300),
    "probe_test": Part("single", 600),
    "tail_train": Part("tail", 1_500),
    "tail_val": Part("tail", 300),
    "tail_test": Part("tail", 600),
    "couple_train": Part("couple", 1_500),
    "couple_val": Part("couple", 300),
    "couple_test": Part("couple", 600),
    "count": Part("group", 250),
    "word": Part("word", 250),
    "digit": Part("digit", 250),
    "sentiment": Part("sentiment", 250),
    "captions": Part("mixture", 200),
    "swap": Part("swap", 200),
    "resample": Part("small", 400),
    "hard": Part("single", 4_000),
}
"""A part's place in this order is the number of its random streams, so new ones go to the end."""
