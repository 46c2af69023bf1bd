"""The parts of training steps, and how long each takes."""

from collections import Counter
from dataclasses import dataclass, field

from lightning.pytorch.profilers import Profiler

from clip_lightning.callbacks.clock import Clock, Moment, has_passed, seconds_between

PARTS = ("data", "forward", "loss", "backward", "optimizer")
"""Parts of a step, in their order; forward passes that are done again are in "backward"."""

_ACTIONS = {
    "train_dataloader_next": "data",
    "batch_to_device": "data",
    "encode": "forward",
    "reduce": "loss",
    "backward": "backward",
}
"""The part that an action belongs to, by the end of its name in Lightning's profilers; two are the task's own."""
_BEGINS, _ENDS = "train_dataloader_next", "run_training_batch"


@dataclass
class Step:
    """Moments of one training step.

    Args:
        begin: When its batch was asked for.
        spans: Begin and end of what belongs to each part.
        end: When it was over, callbacks included; None before.
    """

    begin: Moment
    spans: list[tuple[str, Moment, Moment]] = field(default_factory=list)
    end: Moment | None = None

    @property
    def has_passed(self) -> bool:
        """Whether the device is done with it."""
        return self.end is not None and has_passed(self.end)

    def seconds(self) -> Counter[str]:
        """Seconds of each part, and of what else there is as "other"."""
        assert self.end is not None
        found: Counter[str] = Counter()
        for part, start, end in self.spans:
            found[part] += seconds_between(start, end)  # type: ignore[assignment]
        found["other"] = max(0.0, seconds_between(self.begin, self.end) - found.total())  # type: ignore[assignment]
        return found


class StepTimes(Profiler):
    """Notes when the parts of each training step begin and end, and hands everything on to another profiler.

    Lightning tells a profiler of all that it does, also of how long it waits for a batch.

    Args:
        inner: The trainer's own profiler.
        clock: Of the device that trains.
    """

    def __init__(self, inner: Profiler, clock: Clock) -> None:
        super().__init__()
        self.inner = inner
        self._clock = clock
        self._step: Step | None = None
        self._open: dict[str, Moment] = {}

    def start(self, action_name: str) -> None:
        """Notes that something begins."""
        self.inner.start(action_name)
        action = action_name.rpartition(".")[2]
        if action in _ACTIONS:
            now = self._clock.now()
            if action == _BEGINS:
                self._step, self._open = Step(now), {}
            self._open[action] = now

    def stop(self, action_name: str) -> None:
        """Notes that it ends."""
        action = action_name.rpartition(".")[2]
        if self._step is not None:
            if action in _ACTIONS and action in self._open:
                self._step.spans.append((_ACTIONS[action], self._open.pop(action), self._clock.now()))
            elif action == _ENDS and self._step.spans and self._step.spans[-1][0] == "backward":
                # All that follows the backward pass: looking at the gradients, clipping, the update.
                self._step.spans.append(("optimizer", self._step.spans[-1][2], self._clock.now()))
        self.inner.stop(action_name)

    def finish(self) -> Step | None:
        """Ends the step under way.

        Returns:
            The step; None where it did not begin with a batch that was asked for.
        """
        step, self._step = self._step, None
        if step is not None:
            step.end = self._clock.now()
        return step
