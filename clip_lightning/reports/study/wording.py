"""How a study's figures are written."""

import math
from dataclasses import dataclass

from clip_lightning.ablation.comparison import Pair, Summary
from clip_lightning.results import counted

NONE = "—"


@dataclass(frozen=True)
class Unit:
    """Writes values of one metric: shares in percent, losses as they are.

    Args:
        metric: Its name; one whose last part has "loss" is a loss, as in the figures of a run.
    """

    metric: str

    @property
    def is_share(self) -> bool:
        """Whether it is a fraction that is shown in percent."""
        return "loss" not in self.metric.rpartition("/")[2]

    @property
    def factor(self) -> float:
        """What values are multiplied by to be shown."""
        return 100.0 if self.is_share else 1.0

    @property
    def sign(self) -> str:
        """What follows a value in a sentence."""
        return " %" if self.is_share else ""

    @property
    def points(self) -> str:
        """What follows a difference in a sentence."""
        return " points" if self.is_share else ""

    @property
    def label(self) -> str:
        """What an axis of values is of: the metric alone, since the text says of what."""
        words = self.metric.rpartition("/")[2].replace("_", " ")
        return f"{words} (%)" if self.is_share else words

    @property
    def head(self) -> str:
        """What a column of values is of."""
        return f"{self.metric} (%)" if self.is_share else self.metric

    def value(self, value: float | None) -> str:
        """A value in a table."""
        if value is None or math.isnan(value):
            return NONE
        return f"{value * self.factor:.{1 if self.is_share else 3}f}"

    def interval(self, ends: tuple[float, float] | None) -> str:
        """An interval in a table."""
        return NONE if ends is None else f"{self.value(ends[0])} to {self.value(ends[1])}"

    def difference(self, value: float) -> str:
        """A difference with its sign."""
        text = self.value(abs(value))
        is_zero = float(text) == 0
        return text if is_zero else ("\N{MINUS SIGN}" if value < 0 else "+") + text


def shown_p(p: float) -> str:
    """A p value; below what seeds can tell, only that it is."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def with_interval(one: Summary, unit: Unit) -> str:
    """A variant's mean in a sentence."""
    seeds = counted(len(one.values), "seed")
    if one.interval is None:
        return f"{unit.value(one.mean)}{unit.sign} ({seeds}, no interval)"
    return f"{unit.value(one.mean)}{unit.sign} (95 % interval {unit.interval(one.interval)}, {seeds})"


def seeds_in_all(pair: Pair) -> str:
    """About how many seeds would resolve a pair."""
    if pair.is_resolved:
        return "resolved"
    if pair.difference.n < 2 or pair.difference.deviation == 0:
        return "not known"
    return "more than 1,000" if pair.seeds_needed is None else f"about {pair.seeds_needed:,}"


def joined(names: list[str]) -> str:
    """Names in a sentence."""
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else "".join(names)
