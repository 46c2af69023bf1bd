"""What is a message to the user, and what a fault of the program; and what to quote of a library's own."""

import difflib
import os
import traceback
from pathlib import Path

_PACKAGE = os.path.dirname(__file__)


def is_refusal(error: BaseException) -> bool:
    """Whether an error is a ValueError that a line of this package raises, to say what is wrong with the input.

    One from inside of a library is a fault to be seen with its traceback.
    """
    if not isinstance(error, ValueError) or error.__traceback__ is None:
        return False
    origin = traceback.extract_tb(error.__traceback__)[-1]
    return origin.filename.startswith(_PACKAGE) and (origin.line or "").startswith("raise ")


def did_you_mean(path: str | Path) -> str:
    """What to add to the refusal of a path that is not there: one beside it whose name is like its own, if any.

    Args:
        path: A file or a folder; where already a folder on the way to it is missing, that one's name is compared.
    """
    path = Path(path)
    missing = next((part for part in (*reversed(path.parents), path) if not part.exists()), None)
    if missing is None or not missing.parent.is_dir():
        return ""
    try:
        names = os.listdir(missing.parent)
    except OSError:
        return ""
    near = (missing.parent / name for name in difflib.get_close_matches(missing.name, names))
    meant = next((one for folder in near if (one := folder / path.relative_to(missing)).exists()), None)
    return f"; did you mean {str(meant)!r}?" if meant else ""


def first_line(error: BaseException) -> str:
    """What an error of a library says, without what follows it; the name of its class if it says nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)
