"""Moments on a device's own clock, which the host reads when they have long passed."""

import time

import torch

Moment = float | torch.cuda.Event
"""Seconds of the host's clock, or a mark among what a GPU has been given to do."""


class Clock:
    """Notes moments without waiting for the device.

    On a GPU a moment is when the device comes to it, not when the host does, which runs ahead. Elsewhere it is the
    host's.

    Args:
        device: Where the work is done.
    """

    def __init__(self, device: torch.device) -> None:
        self._is_cuda = device.type == "cuda"

    def now(self) -> Moment:
        """A moment behind everything that the device was given so far."""
        if not self._is_cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event


def has_passed(moment: Moment) -> bool:
    """Whether the device has come to a moment; asking does not wait."""
    return isinstance(moment, float) or bool(moment.query())  # type: ignore[no-untyped-call]


def seconds_between(start: Moment, end: Moment) -> float:
    """Time from one moment to another, both of one clock, both passed."""
    if isinstance(start, float):
        assert isinstance(end, float), "of one clock"
        return end - start
    assert not isinstance(end, float), "of one clock"
    return float(start.elapsed_time(end)) / 1e3
