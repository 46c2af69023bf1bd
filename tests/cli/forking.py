"""An executor and a builder of variants in forks of the test's process, whose imports they share."""

import atexit
import os
import sys
import traceback

from clip_lightning.__main__ import main
from clip_lightning.cli import resolution
from clip_lightning.executors.base import OUTPUT


class ForkingPool:
    """Does a run at a time, as soon as it is submitted.

    Args:
        failures: How many runs fail before one succeeds.
    """

    threads, at_once, is_here = 1, 1, True

    def __init__(self, failures: int = 0) -> None:
        self._failures = failures
        self._codes = {}

    def submit(self, launches):
        jobs = [f"{len(self._codes) + number}" for number in range(len(launches))]
        for job, launch in zip(jobs, launches, strict=True):
            broken = ["--trainer.max_epochs", "many"] if self._failures > 0 else []
            self._failures -= 1
            with (launch.run_dir / OUTPUT).open("ab") as output:
                self._codes[job] = forked(lambda: main([*launch.command[3:], *broken]), output.fileno())  # noqa: B023
        return jobs

    def poll(self, jobs):
        return {job: "failed" if self._codes[job] else "done" for job in jobs}

    def cancel(self, jobs):
        pass


def build_apart(asked, answered):
    """In the place of the function of this name, which starts a process."""
    assert forked(lambda: resolution.main([str(asked), str(answered)])) == 0


def forked(do, output=None):
    """The exit code of a function that runs in a fork of this process."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 99
    atexit._clear()  # those of this process are its own
    try:
        if output is not None:
            os.dup2(output, 1)
            os.dup2(output, 2)
            sys.stdout, sys.stderr = (os.fdopen(number, "w") for number in (1, 2))
        code = do()
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
