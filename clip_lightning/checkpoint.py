"""Checkpoints as files: what one says of its model, writing it whole, and reading it without running any of it."""

import pickle
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clip_lightning.files import part_of, replacing
from clip_lightning.models.recognition import describe
from clip_lightning.refusal import first_line
from clip_lightning.sharding import joined, load_full, parts_of
from clip_lightning.spec import HasSpec, spec_of

FORMAT = 2
"""Version of what this package writes into a checkpoint."""

KEY = "clip_lightning"

UNREADABLE = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError),
    *(TypeError, ValueError, struct.error, zipfile.BadZipFile),
)
"""What PyTorch's reader of tensors and plain data raises for a file that is not whole, or made up."""


def write_description(checkpoint: dict[str, Any], task: HasSpec, config: Mapping[str, Any] | None) -> None:
    """Adds the description of the parts to a checkpoint.

    Args:
        checkpoint: What is about to be saved.
        task: The task whose weights it holds.
        config: The run's resolved configuration, if there is one.
    """
    checkpoint[KEY] = {"format": FORMAT, "task": spec_of(task), "config": spec_of(config)}


def write_checkpoint(checkpoint: Mapping[str, Any], path: str | Path) -> None:
    """Writes a checkpoint so that the path holds the old file or the new one, whole, whatever happens.

    Args:
        checkpoint: Tensors and plain data.
        path: The file; its folder is made.

    Raises:
        ValueError: If it cannot be written, as on a full disk; the old file is intact then.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, part_of(path)) as file:
            torch.save(checkpoint, file)
    except (OSError, RuntimeError) as error:
        # PyTorch's writer hides the system's error in one of its own.
        cause = next((found for found in (error, error.__context__) if isinstance(found, OSError)), error)
        reason = getattr(cause, "strerror", None) or first_line(cause)
        target = path.with_name(path.name.removeprefix(".").removesuffix(".part"))
        raise ValueError(
            f"checkpoint {str(target)!r} cannot be written: {reason}; what was saved before is intact: make room or "
            "change the permissions, then give the same command again"
        ) from None


def read_plain(path: str | Path, map_location: Any = None) -> Any:
    """Reads a file that ``torch.save`` wrote; tensors and plain data only, whoever wrote it.

    Args:
        path: The file, or a folder with the parts of several processes.
        map_location: Device of the tensors; the CPU by default.

    Returns:
        What it holds.

    Raises:
        ValueError: If it is missing, damaged, or holds code.
    """
    path = Path(path)
    if path.is_dir():
        if parts := parts_of(path):
            return joined([read_plain(part, map_location) for part in parts])
        raise ValueError(f"checkpoint {str(path)!r} is a folder; name a file, such as RUN/checkpoints/best.ckpt")
    if not path.is_file():
        raise ValueError(f"checkpoint {str(path)!r} does not exist")
    # A file that may not be read is not damaged: the system's own error says so.
    path.open("rb").close()
    try:
        _check_sums(path)
        with path.open("rb") as file:  # Given a path, PyTorch would go by the ending of its name.
            return torch.load(file, map_location=map_location or "cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(
            f"checkpoint {str(path)!r} holds more than tensors and plain data; nothing was loaded"
        ) from None
    except UNREADABLE as error:
        raise ValueError(f"checkpoint {str(path)!r} is damaged, or is none: {first_line(error)}") from None


def read_checkpoint(path: str | Path, map_location: Any = None) -> dict[str, Any]:
    """Reads a checkpoint of this package, also of an earlier format; tensors and plain data only.

    Args:
        path: The file.
        map_location: Device of the tensors; the CPU by default.

    Returns:
        The checkpoint; under "clip_lightning" the description of the parts.

    Raises:
        ValueError: If it is missing, damaged, holds code, is not of this package, or of a later version of it.
    """
    return check_checkpoint(read_plain(path, map_location), path)


def check_checkpoint(checkpoint: Any, path: str | Path) -> dict[str, Any]:
    """Makes sure that what was read is a checkpoint of this package, and brings it into the present format.

    Args:
        checkpoint: What a file held.
        path: Where it came from, for the message.

    Returns:
        The checkpoint.

    Raises:
        ValueError: If it is not of this package, or of a later version of it.
    """
    path = Path(path)
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get(KEY), dict):
        raise ValueError(f"{str(path)!r} was not saved by clip_lightning: it has no key {KEY!r}")
    found = checkpoint[KEY].get("format")
    if found not in (FORMAT, *_MIGRATIONS):
        raise ValueError(
            f"checkpoint {str(path)!r} has format {found!r}, and this version of the package reads formats up to "
            f"{FORMAT}; update clip_lightning"
        )
    _check_content(checkpoint, path)
    checked: dict[str, Any] = dict(checkpoint)
    while (version := checked[KEY]["format"]) != FORMAT:
        _MIGRATIONS[version](checked)
        checked[KEY]["format"] = version + 1
    return checked


def check_continuable(checkpoint: Mapping[str, Any], path: str | Path) -> None:
    """Makes sure that a checkpoint has what a run needs to go on, beyond weights.

    Raises:
        ValueError: If it was not saved by ``fit``.
    """
    loops, callbacks = checkpoint.get("loops"), checkpoint.get("callbacks")
    is_whole = isinstance(loops, Mapping) and "fit_loop" in loops and "pytorch-lightning_version" in checkpoint
    is_whole = is_whole and isinstance(callbacks, Mapping) and "Checkpoints" in callbacks
    for name in ("optimizer_states", "lr_schedulers"):
        states = checkpoint.get(name)
        is_whole = is_whole and isinstance(states, list) and len(states) == 1 and all(states)
    if not is_whole:
        raise ValueError(
            f"checkpoint {str(path)!r} is damaged, or none of a training: it lacks the state of its optimiser, loops "
            "or callbacks"
        )


def _check_content(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Refuses what only looks like a checkpoint."""
    weights, config = checkpoint.get("state_dict"), checkpoint[KEY].get("config")
    are_tensors = isinstance(weights, Mapping) and all(isinstance(value, torch.Tensor) for value in weights.values())
    if not are_tensors or not isinstance(config, Mapping | None):
        raise ValueError(f"checkpoint {str(path)!r} is damaged, or is none: it lacks weights or a configuration")


def _check_sums(path: Path) -> None:
    """Compares the stored check sums, which ``torch.load`` does not: it takes a flipped bit for a weight.

    Raises:
        zipfile.BadZipFile: If it is no archive, or a part of it is not what was written.
    """
    if not zipfile.is_zipfile(path):
        raise zipfile.BadZipFile("it is no archive as PyTorch writes them")
    with zipfile.ZipFile(path) as archive:
        check_stored(archive.infolist(), path.stat().st_size)
        if (wrong := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"the check sum of {wrong} is wrong")


def check_stored(members: Iterable[zipfile.ZipInfo], size: int) -> None:
    """Makes sure that members of an archive take no more memory than the file has bytes, before they are read.

    Args:
        members: Those that will be read; PyTorch compresses none.
        size: Bytes of the file.

    Raises:
        zipfile.BadZipFile: If one is compressed, or together they are larger than the file.
    """
    total = 0
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED:
            raise zipfile.BadZipFile(f"{member.filename} is compressed, as PyTorch never writes it")
        total += member.file_size
    if total > size:
        raise zipfile.BadZipFile(f"its members have {total:,} bytes, and the file {size:,}")


def _from_format_1(checkpoint: dict[str, Any]) -> None:
    """Format 1 did not note where the journal ended: all its points of later steps are void."""
    if (state := checkpoint.get("callbacks", {}).get("Checkpoints")) is not None:
        state.update(written=0, step=checkpoint["global_step"], should_stop=False, journal_end=0)


_MIGRATIONS: dict[int, Callable[[dict[str, Any]], None]] = {1: _from_format_1}
"""Turns a checkpoint of one format into the next."""


def load_weights(module: nn.Module, checkpoint: Mapping[str, Any], path: str | Path) -> None:
    """Loads a checkpoint's weights, all of them, into a module that fits them.

    Args:
        module: What was saved, built again.
        checkpoint: As ``read_checkpoint`` returns it.
        path: Where it came from, for the message.

    Raises:
        ValueError: If weights are missing, unknown or of another shape.
    """
    check_weights(module.state_dict(), checkpoint["state_dict"], path)
    load_full(module, checkpoint["state_dict"])


def check_weights(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], path: str | Path) -> None:
    """Makes sure that there is each tensor of a model, in its shape, and no other.

    Args:
        wanted: Those of the model.
        given: Those of a file.
        path: The file, for the message.

    Raises:
        ValueError: If weights are missing, unknown or of another shape: their number, the first ten, and what the file
            and the model are, where they are known.
    """
    faults = [f"missing {name}" for name in wanted if name not in given]
    faults += [f"unknown {name}" for name in given if name not in wanted]
    faults += [
        f"{name} is {tuple(given[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in given and given[name].shape != tensor.shape
    ]
    if not faults:
        return
    found, asked = _description(given), _description(wanted)
    cause = f": this is {found}, you asked for {asked}" if found and asked and found != asked else ""
    raise ValueError(
        f"checkpoint {str(path)!r} is of another model{cause}; {len(faults)} weights do not fit: "
        f"{'; '.join(faults[:10])}"
    )


def _description(tensors: Mapping[str, Tensor]) -> str | None:
    """What a model or a task is, if it is one of the paper's."""
    return describe({name.removeprefix("model."): tensor for name, tensor in tensors.items()})


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
