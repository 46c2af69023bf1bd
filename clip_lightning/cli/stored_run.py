"""``validate`` and ``test``: a run is built again from its folder, and the figures of a checkpoint given again."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from clip_lightning.averages import check_kind, with_weights
from clip_lightning.checkpoint import read_checkpoint
from clip_lightning.cli.compose import compose
from clip_lightning.cli.errors import UserError
from clip_lightning.cli.keys import KEYS, check_keys
from clip_lightning.cli.training import TrainingCLI, build_cli
from clip_lightning.cli.trust import only_trusted
from clip_lightning.config import Config, read_config
from clip_lightning.results import format_table
from clip_lightning.spec import class_paths
from clip_lightning.tracking.run_folder import RunFolder

USAGE = """usage: python -m clip_lightning {verb} --run_dir DIR [--checkpoint best|last|PATH] [--weights raw|averaged]
       [--allow_module NAME ...] [--key value ...]

Gives the figures of a run's checkpoint again, from the configuration in its folder. Further keys change that
configuration, for example --evaluation.batch_size 64. Nothing in the folder is changed. Of a run with averaged weights,
the figures are of those that checkpoints.monitor names, unless --weights asks for the others.

A run folder may come from elsewhere, so its configuration may name parts of installed packages only. Your own file is
named by --allow_module, for example --allow_module examples.mixer.
"""


def validate(arguments: Sequence[str]) -> int:
    """Measures a checkpoint on its run's validation sets.

    Args:
        arguments: Command line after the verb.

    Returns:
        Exit code.
    """
    return _measure("validate", arguments)


def test(arguments: Sequence[str]) -> int:
    """Measures a checkpoint on its run's test sets.

    Args:
        arguments: Command line after the verb.

    Returns:
        Exit code.
    """
    return _measure("test", arguments)


def stored_config(folder: RunFolder) -> Config:
    """The resolved configuration of a run.

    Raises:
        UserError: If the folder holds no run.
    """
    if not folder.config.is_file():
        raise UserError(f"{folder.path} is no run folder: it has no config.yaml")
    return read_config(folder.config)


def split_allowed(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Takes each ``--allow_module NAME`` out of a command line.

    Returns:
        The names, and the other arguments.
    """
    parser = argparse.ArgumentParser("clip_lightning", add_help=False, allow_abbrev=False, usage=argparse.SUPPRESS)
    parser.add_argument("--allow_module", action="append", default=[])
    options, others = parser.parse_known_args(arguments)
    return options.allow_module, others


def _measure(verb: str, arguments: Sequence[str]) -> int:
    """Runs Lightning's validation or test on a run's checkpoint, and prints the results.

    Raises:
        UserError: If the folder holds no run, or the checkpoint is missing.
    """
    keys = (*KEYS, "checkpoint", "weights")
    allow_modules, others = split_allowed(arguments)
    given, rest = compose(others, keys)
    if rest:
        print(USAGE.format(verb=verb))
        return 0 if set(rest) <= {"-h", "--help"} else 2
    if "run_dir" not in given:
        raise UserError(f"--run_dir is missing; write: python -m clip_lightning {verb} --run_dir runs/NAME/TIME")
    folder = RunFolder(Path(given["run_dir"]))
    stored = stored_config(folder)
    config, _ = compose(others, keys, stored)
    checkpoint, weights = str(config.pop("checkpoint", "best")), config.pop("weights", None)
    check_kind(weights)
    check_keys(config)
    # What the user types is the user's own choice.
    typed = [str(class_path).rpartition(".")[0] for class_path in class_paths(given) if "." in str(class_path)]
    with only_trusted(stored, [*allow_modules, *typed]):
        # Measuring again is no new run: nothing is tracked.
        cli = build_cli(verb, {**config, "trainer": {**config["trainer"], "logger": False}}, allow_modules)
    path = folder.checkpoints / f"{checkpoint}.ckpt" if checkpoint in ("best", "last") else Path(checkpoint)
    cli.model.take_weights(with_weights(read_checkpoint(path), weights, path), path)
    run = cli.trainer.validate if verb == "validate" else cli.trainer.test
    run(cli.model, cli.datamodule, verbose=False)
    _show(cli, path)
    return 0


def _show(cli: TrainingCLI, checkpoint: Path) -> None:
    """Prints the evaluators' results, and the loss on pairs."""
    if not cli.trainer.is_global_zero:
        return
    results = [row for rows in cli.part("evaluation").results.values() for row in rows]
    print(f"checkpoint  {checkpoint}")
    for name, value in sorted(cli.trainer.callback_metrics.items()):
        if name not in {row.name for row in results}:
            print(f"{name}  {value:.4f}")
    print(f"\n{format_table(results)}")
