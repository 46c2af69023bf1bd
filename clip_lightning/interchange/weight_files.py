"""Files of weights in the folder of another library, also where there are several and an index."""

from pathlib import Path
from typing import Any

from clip_lightning.interchange.archive import read_file
from clip_lightning.interchange.configuration import read_json

INDEX = ".index.json"
"""How the name of an index ends: JSON that says which file each tensor is in."""


def find_weights(folder: Path, names: tuple[str, ...]) -> Path:
    """The first of some files that is there.

    Raises:
        ValueError: If none of them is.
    """
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found is None:
        raise ValueError(f"folder {str(folder)!r} has no weights; they may be called {', '.join(names)}")
    return found


def read_weights(path: Path) -> dict[str, Any]:
    """What a file of weights holds, or all the files of an index together.

    Args:
        path: The file, or an index.

    Raises:
        ValueError: If a file is missing, damaged, or holds other tensors than the index says.
    """
    if not path.name.endswith(INDEX):
        return read_file(path).data
    tensors: dict[str, Any] = {}
    places = _places(path)
    for file in shards(path):
        if not (path.parent / file).is_file():
            raise ValueError(f"{path} names {file!r}, which is not beside it; copy all files of the weights")
        held = read_file(path.parent / file).data
        told = {name for name, place in places.items() if place == file}
        if wrong := sorted(told ^ held.keys()):
            raise ValueError(
                f"{path} is not of these weights: what it says of {file!r} and what that holds differ in "
                f"{len(wrong)} tensors: {', '.join(wrong[:10])}"
            )
        tensors |= held
    return tensors


def shards(index: Path) -> list[str]:
    """Names of the files that an index has, which lie beside it.

    Raises:
        ValueError: If it is no index, or leads out of its folder.
    """
    return sorted(set(_places(index).values()))


def _places(index: Path) -> dict[str, str]:
    """The file of each tensor.

    Raises:
        ValueError: If it is no index, or leads out of its folder.
    """
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ValueError(f"{index} is no index of weights: it lacks weight_map")
    for file in places.values():
        if not isinstance(file, str) or file in ("", ".", "..") or Path(file).name != file or "\\" in file:
            raise ValueError(f"{index} names {file!r}, which is no file beside it; correct the index")
    return places
