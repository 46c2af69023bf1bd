"""Which runs a study wants, by rules that are stated before it begins.

Nothing here looks at whether a difference is significant: seeds that are added until one is would find one in the end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from clip_lightning.stats import t_interval

Outcomes = Mapping[str, Mapping[int, float | None]]
"""Of each variant and seed that is settled the deciding metric, or None where the run has failed for good."""


@dataclass(frozen=True)
class SeedRule:
    """Seeds that are fixed, or added one by one until the paired differences are known well enough.

    Args:
        fixed: The seeds; with a ``half_width`` those that are run in any case.
        at_most: How many seeds may be run.
        half_width: Seeds are added as long as a 95 % interval of a variant's difference from the baseline is wider than
            this to each side, in units of the deciding metric. None adds none.
    """

    fixed: tuple[int, ...]
    at_most: int
    half_width: float | None = None

    @classmethod
    def read(cls, given: Any) -> Self:
        """Makes the rule of what the file says.

        Raises:
            ValueError: If it is neither a list of seeds nor a rule.
        """
        match given:
            case [*seeds] if seeds and all(type(seed) is int and seed >= 0 for seed in seeds):
                if len(set(seeds)) < len(seeds):
                    raise ValueError(f"seeds {seeds} has a seed twice, which would count one run for two")
                return cls(tuple(seeds), len(seeds))
            case {"at_least": int(least), "at_most": int(most), "half_width": int(width) | float(width), **more}:
                if not more and 2 <= least <= most and width > 0:
                    return cls(tuple(range(least)), most, width)
        raise ValueError(
            f"seeds is {given!r}; give a list such as [0, 1, 2, 3, 4], or a rule such as {{at_least: 5, at_most: 20, "
            "half_width: 0.01}"
        )

    def __str__(self) -> str:
        if self.half_width is None:
            return f"{len(self.fixed)} seeds, fixed beforehand"
        return (
            f"{len(self.fixed)} to {self.at_most} seeds, added until each difference from the baseline is known to "
            f"+-{self.half_width:g}"
        )


@dataclass(frozen=True)
class Hopeless:
    """When a variant gets no further seeds. It is ranked by what it has, and has no interval.

    Args:
        after_seeds: After how many seeds variants are looked at, >= 1.
        behind: By how much the mean must then be behind the best variant's, in units of the deciding metric, > 0.
    """

    after_seeds: int
    behind: float

    @classmethod
    def read(cls, given: Any) -> Self:
        """Makes the rule of what the file says.

        Raises:
            ValueError: If it is none.
        """
        match given:
            case {"after_seeds": int(after), "behind": int(behind) | float(behind), **more}:
                if not more and after >= 1 and behind > 0:
                    return cls(after, behind)
        raise ValueError(f"stop_hopeless is {given!r}; give a rule such as {{after_seeds: 2, behind: 0.1}}")

    def __str__(self) -> str:
        return f"a variant {self.behind:g} behind the best after {self.after_seeds} seeds gets no more"


@dataclass(frozen=True)
class Rules:
    """All that decides which runs are wanted.

    Args:
        variants: Names of the variants.
        baseline: The one that differences are taken from.
        mode: Whether more or less of the deciding metric is better.
        seeds: Which seeds.
        hopeless: Which variants get no more; None for none.
    """

    variants: Sequence[str]
    baseline: str
    mode: Literal["max", "min"]
    seeds: SeedRule
    hopeless: Hopeless | None = None

    def wanted(self, outcomes: Outcomes) -> list[tuple[str, int]]:
        """The runs that the study wants by what is known so far, seed by seed; of these, settled ones are included."""
        first = self.seeds.fixed[: self.hopeless.after_seeds] if self.hopeless else ()
        if not self._are_settled(self.variants, first, outcomes):
            return [(variant, seed) for seed in first for variant in self.variants]
        dropped = self.dropped(outcomes)
        kept = [variant for variant in self.variants if variant not in dropped]
        seeds = self._seeds(kept, outcomes)
        return [(name, seed) for seed in seeds for name in self.variants if name in kept or seed in first]

    def dropped(self, outcomes: Outcomes) -> list[str]:
        """The variants that get no further seeds; never the baseline, which all others are compared with."""
        if self.hopeless is None:
            return []
        first = self.seeds.fixed[: self.hopeless.after_seeds]
        if not self._are_settled(self.variants, first, outcomes):
            return []
        sign = 1 if self.mode == "max" else -1
        means = {}
        for name in self.variants:
            values = [value for seed in first if (value := outcomes[name][seed]) is not None]
            if values:
                means[name] = sign * sum(values) / len(values)
        best = max(means.values(), default=0.0)
        is_behind = {name: best - mean > self.hopeless.behind for name, mean in means.items()}
        return [name for name in self.variants if is_behind.get(name) and name != self.baseline]

    def _seeds(self, variants: Sequence[str], outcomes: Outcomes) -> list[int]:
        """The seeds of the variants that go on: one more as long as what is settled is not known well enough."""
        seeds = list(self.seeds.fixed)
        while (
            self.seeds.half_width is not None
            and len(seeds) < self.seeds.at_most
            and self._are_settled(variants, seeds, outcomes)
            and self._widest(variants, seeds, outcomes) > self.seeds.half_width
        ):
            seeds.append(len(seeds))
        return seeds

    def _are_settled(self, variants: Sequence[str], seeds: Sequence[int], outcomes: Outcomes) -> bool:
        return all(seed in outcomes.get(variant, {}) for variant in variants for seed in seeds)

    def _widest(self, variants: Sequence[str], seeds: Sequence[int], outcomes: Outcomes) -> float:
        """Half the width of the widest interval of a difference from the baseline; 0 where none can be made."""
        widest = 0.0
        for variant in variants:
            pairs = [(outcomes[variant][seed], outcomes[self.baseline][seed]) for seed in seeds]
            differences = [one - other for one, other in pairs if one is not None and other is not None]
            if variant != self.baseline and (ends := t_interval(differences)) is not None:
                widest = max(widest, (ends[1] - ends[0]) / 2)
        return widest
