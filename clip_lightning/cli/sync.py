"""``sync``: delivers what a run has recorded and the tracking server has not got yet."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from clip_lightning.cli.errors import UserError
from clip_lightning.tracking.mlflow_delivery import DeliveryError, deliver
from clip_lightning.tracking.training_process import is_abandoned


def main(arguments: Sequence[str]) -> int:
    """Delivers the journals of run folders to MLflow.

    Args:
        arguments: Command line after the verb.

    Returns:
        Exit code.

    Raises:
        UserError: If a folder holds no run, or MLflow cannot be reached.
    """
    parser = argparse.ArgumentParser("clip_lightning sync", description=__doc__, allow_abbrev=False)
    parser.add_argument("run_dir", type=Path, nargs="+", help="folder of a run")
    parser.add_argument("--tracking_uri", help="where to deliver, instead of where the run was to be tracked")
    options = parser.parse_args(arguments)
    for run_dir in options.run_dir:
        if not (run_dir / "journal.jsonl").is_file():
            raise UserError(f"{run_dir} is no run folder: it has no journal.jsonl")
        try:
            counts = deliver(run_dir, options.tracking_uri, abandoned=is_abandoned(run_dir / "journal.jsonl"))
        except DeliveryError as error:
            raise UserError(f"{run_dir}: {error}") from None
        print(
            f"{run_dir}: delivered {counts.metrics} metric points, {counts.params} parameters, {counts.tags} tags, "
            f"{counts.artifacts} artifacts"
        )
    return 0
