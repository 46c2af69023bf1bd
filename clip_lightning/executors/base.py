"""What a study asks of whoever does its runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

State = Literal["waiting", "running", "done", "failed"]
"""Of a job; "done" has ended with exit code 0, and every other end is "failed"."""


class Launch(NamedTuple):
    """One run to be done.

    Args:
        command: What to start, in the working directory of the study.
        run_dir: The run's folder; what the command prints is added to ``OUTPUT`` there.
    """

    command: tuple[str, ...]
    run_dir: Path


OUTPUT = "output.log"
"""What the commands of a run have printed, one attempt after another."""


class Executor(Protocol):
    """Does runs.

    Attributes:
        threads: CPU threads of a run, so that those at once do not fight for the cores.
        at_once: Runs at a time; None where that is not known.
        is_here: Whether runs are done on this machine, so that it can be measured what they will take.
    """

    threads: int
    at_once: int | None
    is_here: bool

    def submit(self, launches: Sequence[Launch]) -> list[str]:
        """Takes runs on, to be done as soon as there is room.

        Args:
            launches: Runs of different folders.

        Returns:
            The name of each one's job. A run whose job outlived an earlier study process keeps it.
        """
        ...

    def poll(self, jobs: Sequence[str]) -> dict[str, State]:
        """How jobs stand; it costs little, and is called again and again.

        Args:
            jobs: Names that ``submit`` returned.
        """
        ...

    def cancel(self, jobs: Sequence[str]) -> None:
        """Ends jobs, and returns when they have ended or will without further help. Runs write a checkpoint first.

        Args:
            jobs: Names that ``submit`` returned.
        """
        ...
