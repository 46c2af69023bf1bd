"""Files from elsewhere, of which tensors and plain data are read and nothing else."""

import io
import pickle
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from clip_lightning.checkpoint import UNREADABLE, check_stored, read_plain
from clip_lightning.refusal import first_line

_HELPERS = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist", "restore_type_tag")
"""What TorchScript calls for typed lists and dictionaries: each is given a plain one."""

_CLASSES = "__torch__."
"""What the names of an archive's own classes begin with."""


class Content(NamedTuple):
    """What a file holds.

    Args:
        container: How it was written.
        data: Tensors and plain data, as they were stored; of a TorchScript archive the tensors of its modules.
        metadata: Texts beside the tensors of a safetensors file.
    """

    container: Literal["torch", "torchscript", "safetensors"]
    data: dict[str, Any]
    metadata: dict[str, str]


def read_file(path: str | Path) -> Content:
    """Reads a file by what it holds, whatever it is called. Nothing of it is run.

    Args:
        path: A TorchScript archive, what ``torch.save`` wrote, or a safetensors file.

    Returns:
        Its content, on the CPU.

    Raises:
        ValueError: If it is missing, damaged, none of these, or holds code.
    """
    path = Path(path)
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(9)
        if head[:2] != b"PK" and head[8:] == b"{":
            return _read_safetensors(path)
        if _is_torchscript(path):
            return Content("torchscript", _read_torchscript(path), {})
    data = read_plain(path)
    if not isinstance(data, dict):
        raise ValueError(f"{str(path)!r} holds a {type(data).__name__} and no weights by name")
    return Content("torch", data, {})


def _read_safetensors(path: Path) -> Content:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
            return Content("safetensors", tensors, dict(file.metadata() or {}))
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{str(path)!r} is damaged, or no safetensors file: {error}") from None


def _is_torchscript(path: Path) -> bool:
    """Whether it is an archive of PyTorch that holds code too; PyTorch tells by the same file."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


class _Module:
    """Stands for every class of a TorchScript archive: it keeps what the object holds, and has no code."""

    def __setstate__(self, state: Any) -> None:
        self.members = state if isinstance(state, dict) else {}


def _plain(data: Any, *_: Any) -> Any:
    """Stands for TorchScript's helpers: the list or dictionary as it is."""
    return data


def _read_torchscript(path: Path) -> dict[str, Any]:
    """The tensors of a TorchScript archive by their places in its modules.

    The archive is copied without its code and constants, so that what is left is what ``torch.save`` writes, and is
    read by PyTorch's reader of tensors and plain data, to which the archive's classes are known as empty shells.

    Raises:
        ValueError: If it holds more than that, or is damaged.
    """
    try:
        stripped, pickled = _without_code(path)
        shells: list[Any] = [(_Module if name.startswith(_CLASSES) else _plain, name) for name in _names(pickled)]
        with torch.serialization.safe_globals(shells):
            root = torch.load(stripped, map_location="cpu", weights_only=True)
        return dict(_tensors(root, "", ()))
    except pickle.UnpicklingError:
        raise ValueError(f"{str(path)!r} holds more than tensors and plain data; nothing was loaded") from None
    except UNREADABLE as error:
        raise ValueError(f"archive {str(path)!r} is damaged, or is none: {first_line(error)}") from None


def _without_code(path: Path) -> tuple[io.BytesIO, bytes]:
    """A copy with nothing but its objects and their tensors, and the pickle that describes them."""
    copy = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(copy, "w") as stripped:
        root = next(name for name in archive.namelist() if name.endswith("/constants.pkl")).removesuffix(
            "constants.pkl"
        )
        kept = ("data.pkl", "version", "byteorder")
        members = [
            member
            for member in archive.infolist()
            if member.filename.startswith(f"{root}data/") or member.filename in [root + part for part in kept]
        ]
        check_stored(members, path.stat().st_size)
        for member in members:
            stripped.writestr(member.filename, archive.read(member))
        pickled = archive.read(f"{root}data.pkl")
    copy.seek(0)
    return copy, pickled


def _names(pickled: bytes) -> Iterator[str]:
    """Names in a pickle that stand for classes of the archive or TorchScript's helpers; it is only taken apart."""
    helpers = {f"torch.jit._pickle.{name}" for name in _HELPERS}
    for code, value, _ in pickletools.genops(pickled):
        if code.name == "GLOBAL":
            name = str(value).replace(" ", ".")
            if name.startswith(_CLASSES) or name in helpers:
                yield name


def _tensors(module: Any, prefix: str, above: tuple[int, ...]) -> Iterator[tuple[str, Tensor]]:
    """Tensors of a module and of those in it, with the names that its state would have."""
    if id(module) in above:
        raise ValueError("a module holds itself")
    for name, value in getattr(module, "members", {}).items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, _Module):
            yield from _tensors(value, f"{prefix}{name}.", (*above, id(module)))
