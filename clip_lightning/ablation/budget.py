"""What all variants of a study may spend alike, and how many steps that is for each."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, cast

from clip_lightning.ablation.facts import Facts

Unit = Literal["samples", "flops", "seconds"]
_UNITS: tuple[Unit, ...] = ("samples", "flops", "seconds")

_REMEDIES: dict[Unit, str] = {
    "samples": "",  # which is always known
    "flops": ", since a tower does what cannot be counted; give samples or seconds",
    "seconds": ", since its runs are done on other machines, where nothing is timed; give samples or flops, or start "
    "the study within an allocation of the cluster (salloc) with --executor LocalPool, which times steps there",
}

TOLERANCE = 0.02
"""By what share a variant may miss the budget: a step cannot be divided."""


@dataclass(frozen=True)
class Budget:
    """An amount that each variant is trained with.

    Args:
        unit: Of what: image-text pairs seen, floating-point operations of the training (a multiply-add is 2), or
            seconds of training on one device of the machine that plans, evaluations not counted.
        amount: How much, > 0.
    """

    unit: Unit
    amount: float

    @classmethod
    def read(cls, given: Any) -> Self:
        """Makes a budget of what the file says.

        Raises:
            ValueError: If it is not one unit with a positive number.
        """
        if isinstance(given, Mapping) and len(given) == 1:
            unit, amount = next(iter(given.items()))
            is_number = isinstance(amount, int | float) and not isinstance(amount, bool)
            if unit in _UNITS and is_number and 0 < amount < math.inf:
                return cls(cast(Unit, unit), amount)
        raise ValueError(
            f"budget is {given!r}; give one of samples, flops and seconds, such as {{samples: 100000}}; another unit "
            "than the file's is given in the file"
        )

    def steps(self, variant: str, facts: Facts) -> int:
        """How many optimiser steps of a variant spend the budget.

        Args:
            variant: Its name, for the message.
            facts: What its steps cost.

        Returns:
            The number of steps.

        Raises:
            ValueError: If no whole number of steps comes within ``TOLERANCE`` of it.
        """
        step = self._cost_of_a_step(facts)
        if step is None:
            raise ValueError(
                f"budget {self} cannot be matched: what a step of variant {variant!r} takes of it is not known here"
                f"{_REMEDIES[self.unit]}"
            )
        steps = max(1, round(self.amount / step))
        if abs(steps * step - self.amount) > TOLERANCE * self.amount:
            raise ValueError(
                f"budget {self} cannot be matched by variant {variant!r}: one step of it is {step:,.4g}, and "
                f"{steps} {'is' if steps == 1 else 'are'} {steps * step:,.4g}; give a multiple of its steps, or more"
            )
        return steps

    def _cost_of_a_step(self, facts: Facts) -> float | None:
        match self.unit:
            case "samples":
                return facts.batch_size
            case "flops":
                return None if facts.training_flops is None else facts.training_flops * facts.batch_size
            case "seconds":
                return facts.seconds_per_step

    def __str__(self) -> str:
        return f"of {self.amount:,.4g} {self.unit}"
