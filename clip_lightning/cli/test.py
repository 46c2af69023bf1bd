"""``test``: gives the figures of a run's checkpoint on its test sets again."""

from collections.abc import Sequence

from clip_lightning.cli.stored_run import measure


def main(arguments: Sequence[str]) -> int:
    """Measures a checkpoint.

    Args:
        arguments: Command line after the verb.

    Returns:
        Exit code.
    """
    return measure("test", arguments)
