"""Which format weights are in, by what their files hold."""

import json
from pathlib import Path
from typing import Any

from clip_lightning.checkpoint import KEY, check_checkpoint, read_checkpoint
from clip_lightning.interchange import hub, hugging_face, open_clip
from clip_lightning.interchange.archive import Content, read_file
from clip_lightning.interchange.foreign import Foreign
from clip_lightning.interchange.openai import read_openai
from clip_lightning.refusal import did_you_mean
from clip_lightning.sharding import parts_of

OWN_WEIGHTS = "clip_lightning.safetensors"
"""Name of the file that ``export --to safetensors`` writes: tensors in this package's names, and their description."""


def read_source(path: str | Path) -> Foreign | dict[str, Any]:
    """Reads weights of any known format.

    Args:
        path: A file, a folder, or a name of the hub.

    Returns:
        Foreign weights, or a checkpoint of this package.

    Raises:
        ValueError: If there is nothing, nothing known, or nothing safe.
    """
    place = hub.download(str(path)) if str(path).startswith(hub.PREFIX) else Path(path)
    if not place.exists():
        raise ValueError(f"checkpoint {str(path)!r} does not exist{did_you_mean(place)}")
    if place.is_dir():
        return read_checkpoint(place) if parts_of(place) else _read_folder(place)
    content = read_file(place)
    own = _own(content, place)
    if own is not None:
        return check_checkpoint(own, place)
    if (place.parent / open_clip.CONFIG).is_file():
        return open_clip.read_open_clip(place.parent, place)
    if any(name.startswith("vision_model.") for name in content.data):
        if (place.parent / hugging_face.CONFIG).is_file():
            return hugging_face.read_transformers(place.parent)
        raise ValueError(f"{str(place)!r} holds weights of transformers, whose config.json is not beside it")
    return read_openai(content, str(place))


def _read_folder(folder: Path) -> Foreign | dict[str, Any]:
    """Reads the folder of another library, or of an export."""
    if (own := folder / OWN_WEIGHTS).is_file():
        return read_source(own)
    if (folder / open_clip.CONFIG).is_file():
        return open_clip.read_open_clip(folder)
    if (folder / hugging_face.CONFIG).is_file():
        return hugging_face.read_transformers(folder)
    raise ValueError(
        f"checkpoint {str(folder)!r} is a folder, and none of open_clip ({open_clip.CONFIG}) or transformers "
        f"({hugging_face.CONFIG}); name a file, such as RUN/checkpoints/best.ckpt"
    )


def _own(content: Content, path: Path) -> dict[str, Any] | None:
    """The checkpoint of this package in a file, if there is one."""
    if content.container == "safetensors" and KEY in content.metadata:
        try:
            return {KEY: json.loads(content.metadata[KEY]), "state_dict": content.data}
        except ValueError:
            raise ValueError(f"{str(path)!r} is damaged: its description is no JSON") from None
    return content.data if KEY in content.data else None
