"""What a parser, or a part that it builds, refuses becomes one message."""

from argparse import ArgumentError
from collections.abc import Iterator
from contextlib import contextmanager

import jsonargparse
from lightning.fabric.utilities.exceptions import MisconfigurationException

from clip_lightning.cli.errors import UserError, is_users_mistake
from clip_lightning.cli.keys import with_suggestion


@contextmanager
def refusals() -> Iterator[None]:
    """While a configuration is parsed and its parts are built.

    Raises:
        UserError: If something in it is not accepted, with the nearest name where one is misspelt.
    """
    try:
        yield
    except (ArgumentError, jsonargparse.ArgumentError) as error:
        raise UserError(with_suggestion(str(error))) from None
    except Exception as error:
        chain = list(_chain(error))
        # Our own message, which names place and remedy, and not that of the library that it was made from.
        if said := next((one for one in chain if is_users_mistake(one)), None):
            raise UserError(str(said)) from error
        if isinstance(cause := chain[-1], ModuleNotFoundError):
            # Lightning's own says what is missing, and names no module.
            known = cause.name and f"package {cause.name!r} is not installed; pip install {cause.name}"
            raise UserError(known or with_suggestion(str(cause))) from error
        # While parts are built, a refused value is the user's, whoever's part refuses it.
        is_unknown = isinstance(cause, TypeError) and "unexpected keyword argument" in str(cause)
        if is_unknown or isinstance(cause, ValueError | MisconfigurationException | OSError):
            raise UserError(str(cause)) from error
        raise


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it came from, one after another: the parser wraps what a part's constructor raises."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
