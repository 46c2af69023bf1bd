"""Numbers of the device, read by the host when the device has long come to them."""

from collections import deque

import torch
from torch import Tensor

LAG = 2
"""Steps that a reading is late on a GPU: so far the host may run ahead, and the device never waits for it."""


class LateReading:
    """Hands out each number that was put in, some steps later; on the CPU at once.

    The delay is counted in steps and not in time, so that all processes read the same number at the same step.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Tensor, torch.cuda.Event]] = deque()

    def exchange(self, value: Tensor) -> int:
        """Puts in this step's number and takes out an earlier one; 0 as long as there is none.

        Args:
            value: A scalar that is not changed in place later.
        """
        if not value.is_cuda:
            return int(value)
        copy = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
        copy.copy_(value, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._waiting.append((copy, event))
        if len(self._waiting) <= LAG:
            return 0
        earlier, done = self._waiting.popleft()
        done.synchronize()
        return int(earlier)
