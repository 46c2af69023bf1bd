"""How the learning rate goes over training: pure functions of the step, of which nothing needs to be saved."""

import math
from abc import ABC, abstractmethod

from clip_lightning.spec import HasSpec


class Schedule(HasSpec, ABC):
    """A learning rate over training, as a pure function of the step."""

    @abstractmethod
    def __call__(self, step: int, total_steps: int) -> float:
        """Factor on the learning rate for optimiser step ``step``, counted from 0."""

    def doubt(self, total_steps: int) -> str | None:
        """What a user should know before a training of so many steps; None if it goes as one would expect."""
        return None


class _Warmup(Schedule):
    """Linear warm-up, then what a subclass says, and at the end a linear cool-down by which that is multiplied."""

    def __init__(self, warmup_steps: int, final_factor: float, cooldown_share: float = 0.0) -> None:
        if warmup_steps < 0:
            raise ValueError(f"warmup_steps {warmup_steps} is negative")
        if not 0 <= final_factor <= 1:
            raise ValueError(f"final_factor {final_factor} is not between 0 and 1")
        if not 0 <= cooldown_share <= 1:
            raise ValueError(f"cooldown_share {cooldown_share} is not between 0 and 1; it is a share of all steps")
        self.warmup_steps = warmup_steps
        self.final_factor = final_factor
        self.cooldown_share = cooldown_share

    @abstractmethod
    def after_warmup(self, step: int, total_steps: int) -> float:
        """Factor at a step from ``warmup_steps`` on, where there is no cool-down."""

    def __call__(self, step: int, total_steps: int) -> float:
        """Factor at a step; the cool-down comes to ``final_factor`` at the step after the last one."""
        factor = (step + 1) / self.warmup_steps if step < self.warmup_steps else self.after_warmup(step, total_steps)
        cooldown_steps, left = self._cooldown_steps(total_steps), max(0, total_steps - step)
        if left >= cooldown_steps:
            return factor
        return factor * (self.final_factor + (1 - self.final_factor) * left / cooldown_steps)

    def doubt(self, total_steps: int) -> str | None:
        """Tells of a warm-up that is not over where training ends, or its cool-down begins."""
        cooldown_steps = self._cooldown_steps(total_steps)
        if self.warmup_steps <= total_steps - cooldown_steps:
            return None
        cooldown = f", of which the last {cooldown_steps:,} are the cool-down" if cooldown_steps else ""
        return (
            f"the warm-up takes {self.warmup_steps:,} steps, but training has {total_steps:,}{cooldown}; the learning "
            "rate never comes to its full height: lower model.schedule.warmup_steps, or train for longer"
        )

    def _cooldown_steps(self, total_steps: int) -> int:
        return round(self.cooldown_share * total_steps)


class WarmupCosine(_Warmup):
    """Linear warm-up, then half a cosine to zero, by optimiser step.

    Args:
        warmup_steps: Steps until the full learning rate.
        final_factor: Factor on the learning rate at the end, 0-1.

    Raises:
        ValueError: If an argument is out of its range.

    Source: Radford et al. 2021, section 2.5; 2,000 warm-up steps: table 18.
    """

    def __init__(self, warmup_steps: int = 2000, final_factor: float = 0.0) -> None:
        super().__init__(warmup_steps, final_factor)

    def after_warmup(self, step: int, total_steps: int) -> float:
        """The cosine; the step after the last one has ``final_factor``."""
        progress = (step - self.warmup_steps) / max(1, total_steps - self.warmup_steps)
        cosine = (1 + math.cos(math.pi * min(1.0, progress))) / 2
        return self.final_factor + (1 - self.final_factor) * cosine


class WarmupConstant(_Warmup):
    """Linear warm-up, then the full learning rate, then a linear cool-down: a trapezoid, by optimiser step.

    Args:
        warmup_steps: Steps until the full learning rate.
        cooldown_share: Share of all steps over which the learning rate falls at the end, 0-1; 0 for no cool-down.
        final_factor: Factor on the learning rate at the end of the cool-down, 0-1.

    Raises:
        ValueError: If an argument is out of its range.

    Source: Hu et al. 2024 (arXiv 2404.06395), section 4.2; a fifth of the steps as cool-down: Hägele et al. 2024 (arXiv
        2405.18392), section 3.
    """

    def __init__(self, warmup_steps: int = 2000, cooldown_share: float = 0.2, final_factor: float = 0.0) -> None:
        super().__init__(warmup_steps, final_factor, cooldown_share)

    def after_warmup(self, step: int, total_steps: int) -> float:
        """The full learning rate."""
        return 1.0


class WarmupReciprocalSqrt(_Warmup):
    """Linear warm-up, then falling as one over the square root of the steps, then a linear cool-down.

    Args:
        warmup_steps: Steps until the full learning rate.
        timescale: Steps after the warm-up in which the learning rate falls to ``sqrt(1/2)``, at least 1; None for as
            many as the warm-up has, with which it is ``sqrt(warmup_steps / step)``.
        cooldown_share: Share of all steps over which it falls to zero at the end, 0-1; 0 for no cool-down.
        final_factor: What is left at the end of the cool-down of the rate without it, 0-1.

    Raises:
        ValueError: If an argument is out of its range, or there is neither a warm-up nor a time scale.

    Source: Vaswani et al. 2017 (arXiv 1706.03762), section 5.3; time scale and cool-down: Zhai et al. 2022 (arXiv
        2106.04560), section 3.5.
    """

    def __init__(
        self,
        warmup_steps: int = 2000,
        timescale: int | None = None,
        cooldown_share: float = 0.0,
        final_factor: float = 0.0,
    ) -> None:
        super().__init__(warmup_steps, final_factor, cooldown_share)
        if timescale is None and warmup_steps == 0:
            raise ValueError("warmup_steps 0 leaves the time scale open; give timescale, such as 10000 steps")
        if timescale is not None and timescale < 1:
            raise ValueError(f"timescale {timescale} is below 1; usual are the warm-up's steps, or 10000")
        self.timescale = warmup_steps if timescale is None else timescale

    def after_warmup(self, step: int, total_steps: int) -> float:
        """The square root."""
        return math.sqrt(self.timescale / (self.timescale + step - self.warmup_steps))
