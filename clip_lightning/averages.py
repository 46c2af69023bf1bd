"""Two sets of weights in one checkpoint: the raw ones, which are trained, and their moving averages.

``state_dict`` holds the set by which the checkpoint was chosen, so that whoever reads it has the right one; the other
set lies beside it. A checkpoint without averages holds the raw weights, and nothing more.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from clip_lightning.checkpoint import KEY

KINDS = ("raw", "averaged")

BESIDE = "weights_beside"
"""Where a checkpoint has the other set."""


def named(stage: str, kind: str) -> str:
    """What the metrics of a stage begin with: "val" is "val_ema" for averaged weights."""
    return f"{stage}_ema" if kind == "averaged" else stage


def kind_of_metric(name: str) -> str:
    """Which weights a metric is of, by its name."""
    stages = [named(stage, "averaged") for stage in ("val", "test")]
    return "averaged" if name.partition("/")[0] in stages else "raw"


def kind_of(checkpoint: Mapping[str, Any]) -> str:
    """Which weights a checkpoint's ``state_dict`` holds, "raw" or "averaged"."""
    return str(checkpoint[KEY].get("weights", "raw"))


def with_averages(checkpoint: dict[str, Any], averages: Mapping[str, Tensor], kind: str) -> dict[str, Any]:
    """A checkpoint with both sets.

    Args:
        checkpoint: One of raw weights, described as ``write_description`` does.
        averages: By name; weights that have none are the same in both sets, and take no space a second time.
        kind: Which set is to be its ``state_dict``.
    """
    raw = checkpoint["state_dict"]
    both = {"raw": raw, "averaged": {**raw, **averages}}
    other = "raw" if kind == "averaged" else "averaged"
    return {**checkpoint, "state_dict": both[kind], BESIDE: both[other], KEY: {**checkpoint[KEY], "weights": kind}}


def with_weights(checkpoint: dict[str, Any], kind: str | None, path: Any) -> dict[str, Any]:
    """A checkpoint whose ``state_dict`` is the set that is asked for.

    Args:
        checkpoint: As ``read_checkpoint`` returns it.
        kind: "raw" or "averaged"; None for the set that it was chosen by.
        path: Where it came from, for the message.

    Raises:
        ValueError: If there is no such set.
    """
    check_kind(kind)
    held = kind_of(checkpoint)
    if kind is None or kind == held:
        return checkpoint
    beside = checkpoint.get(BESIDE)
    if beside is None:
        raise ValueError(f"checkpoint {str(path)!r} has no {kind} weights, but {held} ones alone; leave weights out")
    if not isinstance(beside, Mapping) or not all(isinstance(value, Tensor) for value in beside.values()):
        raise ValueError(f"checkpoint {str(path)!r} is damaged: its {kind} weights are none")
    return {
        **checkpoint,
        "state_dict": beside,
        BESIDE: checkpoint["state_dict"],
        KEY: checkpoint[KEY] | {"weights": kind},
    }


def check_kind(kind: str | None) -> None:
    """Refuses what names no set of weights.

    Raises:
        ValueError: If it does not.
    """
    if kind not in (None, *KINDS):
        raise ValueError(f"weights {kind!r} is neither 'raw' nor 'averaged'; leave it out to have the chosen ones")
