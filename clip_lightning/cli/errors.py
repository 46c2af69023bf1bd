"""A user's mistake ends with one message; a fault of the program with its traceback."""

import errno
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from clip_lightning.refusal import is_refusal


class UserError(Exception):
    """A mistake in the input that has already been put into words for the user."""


@contextmanager
def telling_place(place: str) -> Iterator[None]:
    """Whatever mistake is met meanwhile is told with its place.

    Args:
        place: Such as "evaluator 'pets'".

    Raises:
        UserError: If there is one.
    """
    try:
        yield
    except Exception as error:
        if not is_users_mistake(error):
            raise
        raise UserError(f"{place}: {error}") from error


def run_verb(verb: str, main: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """Runs a verb's ``main`` and turns a user's mistake into a message.

    Args:
        verb: Its name, put before the message.
        main: Takes the arguments after the verb and returns the exit code.
        arguments: Those arguments.

    Returns:
        The exit code; 2 for a user's mistake, 130 for Ctrl-C.
    """
    try:
        return main(arguments)
    except KeyboardInterrupt as stop:
        print(f"clip_lightning {verb}: {str(stop) or 'interrupted'}", file=sys.stderr)
        return 130
    except Exception as error:
        if not is_users_mistake(error):
            raise
        if not _says_another_process():
            print(f"clip_lightning {verb}: {error}", file=sys.stderr)
        return 2


def _says_another_process() -> bool:
    """Whether a launcher has started several processes on this machine, which all meet the same mistake.

    Once they work together, a mistake, as in a file, may be met by one of them alone.
    """
    if "torch" in sys.modules and sys.modules["torch"].distributed.is_initialized():
        return False
    return any(os.environ.get(name, "0") != "0" for name in ("LOCAL_RANK", "SLURM_LOCALID"))


def is_users_mistake(error: BaseException) -> bool:
    """Whether an error was raised on purpose by this package, or says that a file is not to be had."""
    if isinstance(error, UserError):
        return True
    if isinstance(error, PermissionError | FileNotFoundError | IsADirectoryError | NotADirectoryError):
        return True
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
        return True
    return is_refusal(error)
