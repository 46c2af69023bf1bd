"""What a variant is and costs, as found by a process that builds it: this one has no torch."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Facts:
    """One variant, built and tried for some steps.

    Args:
        config: Its configuration with all defaults.
        reports: Metrics that its runs will report.
        batch_size: Image-text pairs of an optimiser step.
        steps: Optimiser steps that its configuration asks for; None where it does not say, and a budget must.
        steps_per_epoch: Optimiser steps between two evaluations.
        parameters: Numbers that are learned, of the whole model.
        image_flops: Operations of the image tower for one image, forwards, a multiply-add counted as 2; None where a
            tower does what cannot be counted.
        training_flops: Operations of a training step for one pair with a text of full length, forwards and backwards;
            None as above.
        seconds_per_step: Measured on one device of this machine; None where nothing was measured.
        seconds_per_evaluation: Of one validation with its evaluators.
        seconds_to_start: From the start of a process to the first step.
        threads: CPU threads of that process.
    """

    config: dict[str, Any]
    reports: list[str]
    batch_size: int
    steps: int | None
    steps_per_epoch: int
    parameters: int
    image_flops: int | None
    training_flops: float | None
    seconds_per_step: float | None = None
    seconds_per_evaluation: float | None = None
    seconds_to_start: float | None = None
    threads: int | None = None

    def seconds(self, steps: int) -> float | None:
        """About how long a run of so many steps takes; None where nothing was measured."""
        if self.seconds_per_step is None:
            return None
        # The best checkpoint is validated once more, and tested.
        rounds = -(-steps // self.steps_per_epoch) + 2
        return (
            (self.seconds_to_start or 0) + steps * self.seconds_per_step + rounds * (self.seconds_per_evaluation or 0)
        )
