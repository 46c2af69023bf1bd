"""What a run starts from, as only the parts that were built for it know."""

from collections.abc import Sequence
from typing import Any

import torch

from clip_lightning.cli.training import TrainingCLI
from clip_lightning.tracking.provenance import Start, describe_start
from clip_lightning.tracking.store import without_password


def start_of(cli: TrainingCLI, arguments: Sequence[str]) -> Start:
    """Describes the start of a run for its provenance.

    Args:
        cli: What was built from the configuration.
        arguments: Command line after the verb, where Python code may have called it.

    Returns:
        Plain data: ``describe_start`` with these arguments, the seed, the devices, the processes, the threads of each,
        and hashes of the data.
    """
    known = {
        "arguments": [without_password(argument) for argument in arguments],
        "seed": cli.config.seed_everything,
        "devices": [_name_of(cli.trainer.strategy.root_device)],
        "processes": cli.trainer.world_size,
        "threads": torch.get_num_threads(),
        "fingerprints": fingerprints_of(cli),
    }
    return describe_start(known)


def fingerprints_of(cli: TrainingCLI) -> dict[str, str]:
    """Hashes of what the sources hold: those of the pairs by their place, those of the evaluators by their name."""
    found = dict(cli.datamodule.fingerprints)
    for stage, evaluators in cli.part("evaluation").evaluators.items():
        for evaluator in evaluators:
            # An evaluator need not have labelled data: the contract asks for results only.
            if (dataset := getattr(evaluator, "dataset", None)) is not None:
                found[f"{stage}/{evaluator.prefix}"] = dataset.source.fingerprint
    return found


def _name_of(device: Any) -> str:
    """A device with its model, where it has one."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
