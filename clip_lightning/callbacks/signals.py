"""Signals that ask a training to stop: noted when they come, acted on between two steps."""

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C, the end of a job, and a scheduler's warning of it."""


class TrainingStopped(Exception):  # noqa: N818  (no error, like KeyboardInterrupt)
    """A signal ended the training after a checkpoint was written.

    Args:
        number: The signal.
        step: Optimiser steps done.
    """

    def __init__(self, number: int, step: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} at step {step:,}")
        self.number = number
        self.step = step


class StopSignals:
    """Notes the first signal that asks to stop, while it listens; a second Ctrl-C ends the process at once.

    Attributes:
        received: The signal, or None.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._replaced: dict[int, Any] = {}

    def listen(self) -> None:
        """Begins to note signals; only a main thread can."""
        if threading.current_thread() is threading.main_thread():
            self._replaced = {number: signal.signal(number, self._note) for number in STOPPING}

    def release(self) -> None:
        """Gives the signals back to whom they belonged."""
        for number, handler in self._replaced.items():
            signal.signal(number, handler)
        self._replaced = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        # Written without locks: the handler may interrupt a print of its own process.
        if number == signal.SIGINT and self.received == signal.SIGINT:
            os.write(sys.stderr.fileno(), b"\nended at once; the checkpoints that were written before are intact\n")
            os._exit(128 + number)
        if self.received is None:
            self.received = number
            if number == signal.SIGINT:
                os.write(sys.stderr.fileno(), b"\nstopping after this step; Ctrl-C again ends at once\n")
