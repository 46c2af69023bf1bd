"""What a checkpoint says of the model in it, as plain data, and reading it without running any of it."""

import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clip_lightning.spec import HasSpec, spec_of

FORMAT = 1
"""Version of what this package puts under its own key."""

KEY = "clip_lightning"


def write_description(checkpoint: dict[str, Any], task: HasSpec, config: Mapping[str, Any] | None) -> None:
    """Adds the description of the parts to a checkpoint.

    Args:
        checkpoint: What is about to be saved.
        task: The task whose weights it holds.
        config: The run's resolved configuration, if there is one.
    """
    checkpoint[KEY] = {"format": FORMAT, "task": spec_of(task), "config": spec_of(config)}


def read_checkpoint(path: str | Path, map_location: Any = None) -> dict[str, Any]:
    """Reads a checkpoint of this package; tensors and plain data only.

    Args:
        path: The file.
        map_location: Device of the tensors; the CPU by default.

    Returns:
        The checkpoint; under "clip_lightning" the description of the parts.

    Raises:
        ValueError: If it is missing, damaged, holds code, or is not of this package or of a later version of it.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"checkpoint {str(path)!r} does not exist")
    try:
        checkpoint = torch.load(path, map_location=map_location or "cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(
            f"checkpoint {str(path)!r} is no checkpoint, or holds more than tensors and plain data; nothing was loaded"
        ) from None
    except (RuntimeError, EOFError, KeyError, OSError, zipfile.BadZipFile) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"checkpoint {str(path)!r} is damaged: {reason}") from None
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get(KEY), dict):
        raise ValueError(f"{str(path)!r} was not saved by clip_lightning: it has no key {KEY!r}")
    found = checkpoint[KEY].get("format")
    if found != FORMAT:
        raise ValueError(f"checkpoint {str(path)!r} has format {found!r}; this version of the package reads {FORMAT}")
    return dict(checkpoint)


def load_weights(module: nn.Module, checkpoint: Mapping[str, Any], path: str | Path) -> None:
    """Loads a checkpoint's weights, all of them, into a module that fits them.

    Args:
        module: What was saved, built again.
        checkpoint: As ``read_checkpoint`` returns it.
        path: Where it came from, for the message.

    Raises:
        ValueError: If weights are missing, unknown or of another shape: their number, and the first ten.
    """
    given, wanted = checkpoint["state_dict"], module.state_dict()
    faults = [f"missing {name}" for name in wanted if name not in given]
    faults += [f"unknown {name}" for name in given if name not in wanted]
    faults += [
        f"{name} is {tuple(given[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in given and given[name].shape != tensor.shape
    ]
    if faults:
        raise ValueError(
            f"checkpoint {str(path)!r} is of another model; {len(faults)} weights do not fit: {'; '.join(faults[:10])}"
        )
    module.load_state_dict(given)


def build_described(checkpoint: Mapping[str, Any], path: str | Path, make: Callable[[Any], Any]) -> Any:
    """Builds what a checkpoint describes.

    Args:
        checkpoint: As ``read_checkpoint`` returns it.
        path: Where it came from, for the message.
        make: Builds from the description of the task.

    Returns:
        What ``make`` returns.

    Raises:
        ValueError: If the description is not one that this package writes.
    """
    try:
        return make(checkpoint[KEY]["task"])
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"checkpoint {str(path)!r} describes no model that can be built: {error!r}") from None
