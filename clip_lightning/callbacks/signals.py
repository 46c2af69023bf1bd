"""Signals that ask a training to stop: noted when they come, acted on between two steps."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
"""Ctrl-C, the end of a job, a scheduler's warning of it, and a terminal that was closed."""


class TrainingStopped(BaseException):
    """A signal ended the training, after a checkpoint if a step had been made. No error, like KeyboardInterrupt.

    Args:
        number: The signal.
        step: Optimiser steps done; None outside of the training.
    """

    def __init__(self, number: int, step: int | None = None) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number
        self.step = step


@contextlib.contextmanager
def stopping_at_once() -> Iterator[None]:
    """Meanwhile, signals raise ``TrainingStopped`` where they come: before the first step, and after the last one.

    Ctrl-C keeps its own exception.
    """
    replaced = _handle([number for number in STOPPING if number != signal.SIGINT], _raise)
    try:
        yield
    finally:
        _restore(replaced)


def _raise(number: int, frame: FrameType | None) -> None:
    raise TrainingStopped(number)


def _handle(numbers: Sequence[int], handler: Any) -> dict[int, Any]:
    """Sets a handler, which only a main thread can, and returns the replaced ones.

    What is ignored stays so: that is how ``nohup`` keeps a closed terminal from ending a process.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    heeded = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in heeded}


def _restore(replaced: dict[int, Any]) -> None:
    for number, handler in replaced.items():
        signal.signal(number, handler)


class StopSignals:
    """Notes the first signal that asks to stop, while it listens; a second Ctrl-C ends the process at once.

    Attributes:
        received: The signal, or None.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._replaced: dict[int, Any] = {}

    def listen(self) -> None:
        """Begins to note signals."""
        self._replaced = _handle(STOPPING, self._note)

    def release(self) -> None:
        """Gives the signals back to whom they belonged."""
        _restore(self._replaced)
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
