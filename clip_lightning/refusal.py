"""What is a message to the user, and what a fault of the program; and what to quote of a library's own."""

import os
import traceback

_PACKAGE = os.path.dirname(__file__)


def is_refusal(error: BaseException) -> bool:
    """Whether an error is a ValueError that a line of this package raises, to say what is wrong with the input.

    One from inside of a library is a fault to be seen with its traceback.
    """
    if not isinstance(error, ValueError) or error.__traceback__ is None:
        return False
    origin = traceback.extract_tb(error.__traceback__)[-1]
    return origin.filename.startswith(_PACKAGE) and (origin.line or "").startswith("raise ")


def first_line(error: BaseException) -> str:
    """What an error of a library says, without what follows it; the name of its class if it says nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)
