"""Which samples were in the steps that could not be made, as a file for whoever looks at them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from clip_lightning.files import write_atomically

FILE = "skipped_samples.json"
_PLACES = 2_000
"""Samples whose place is looked up; that may cost counting the lines of a table before it."""

Steps = Sequence[tuple[int, Sequence[Tensor]]]
"""Optimiser step, counted from 1, and the keys of its batches, each [batch, 3]."""


def write_samples(path: Path, steps: Steps, sources: Sequence[Any]) -> None:
    """Writes the samples of steps of all processes; all processes call it, and the first one writes.

    Args:
        path: File to write.
        steps: What this process had in each step, the latest last.
        sources: The training sources, by the first number of a key; empty if they are not known.
    """
    mine = [(step, torch.cat([key.cpu() for key in keys]).tolist()) for step, keys in steps]
    parts: list[Any] = [mine]
    if dist.is_available() and dist.is_initialized():
        parts = [None] * dist.get_world_size()
        dist.all_gather_object(parts, mine)
        if dist.get_rank() != 0:
            return
    described, left = [], _PLACES
    for number in reversed(range(len(mine))):  # the latest ones have their places
        keys = [key for part in parts for key in part[number][1]]
        described.append(
            {"step": mine[number][0], "samples": [_describe(key, sources, left - i) for i, key in enumerate(keys)]}
        )
        left -= len(keys)
    text = json.dumps({"steps": described[::-1]}, indent=1, ensure_ascii=False)
    write_atomically(path, f"{text}\n".encode())


def _describe(key: Sequence[int], sources: Sequence[Any], left: int) -> dict[str, Any]:
    """A sample's identity, and where it is to be found as long as such look-ups are left."""
    number, shard, index = key
    found: dict[str, Any] = {"source": number, "shard": shard, "index": index}
    if number < len(sources):
        found["name"] = sources[number].name
        if left > 0:
            found["place"] = sources[number].place(index)
    return found
