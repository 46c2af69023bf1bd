"""Features on disk, so that no image is encoded twice by the same weights."""

import hashlib
import json
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open
from torch import distributed

from clip_lightning.data import Source
from clip_lightning.files import write_atomically
from clip_lightning.inference.features import Encoded, ImagePass, encode_images, joined, place_among
from clip_lightning.spec import spec_of

PART_SIZE = 4096
"""Images in a file. What is done of a part is lost where a process is killed, what is done of others is not."""


class FeatureCache:
    """A folder of features for each model, source and transform, in parts that are there whole or not at all.

    Processes share the parts that are missing, and the next call goes on where one was killed.

    Args:
        path: The folder; it is made when something is kept.
        model: Hash of the weights and of what else determines the rows, such as the activation.
        part_size: Images in a part, at least 1.
    """

    def __init__(self, path: Path, model: str, part_size: int = PART_SIZE) -> None:
        self.path = path
        self.part_size = part_size
        self._model = model

    def features(self, how: ImagePass, source: Source, group: distributed.ProcessGroup | None = None) -> Encoded:
        """Rows of every image of a source: those that are kept, and the others after they have been made and kept.

        Collective: every process makes a share of what is missing, and gets everything.

        Args:
            how: The model and what else it takes.
            source: The images.
            group: The processes that take part; None takes all, or this one alone where none others are known.

        Raises:
            ValueError: If no image can be read, with the reason of the first.
            OSError: If a part cannot be written.
        """
        folder = self.folder(how, source)
        parts = np.array_split(np.arange(len(source)), max(-(-len(source) // self.part_size), 1))
        rank, world = place_among(group)
        mine = parts[rank::world]
        for number, indices in zip(range(rank, len(parts), world), mine, strict=True):
            file = _file(folder, number)
            if not _is_whole(file):
                folder.mkdir(parents=True, exist_ok=True)
                write_atomically(file, _packed(encode_images(how, source, indices)))
        if world > 1:
            distributed.barrier(group)
        return joined(source, [_read(_file(folder, number)) for number in range(len(parts))])

    def is_kept(self, how: ImagePass, source: Source) -> bool:
        """Whether some of a source's features are there already."""
        return self.folder(how, source).is_dir()

    def folder(self, how: ImagePass, source: Source) -> Path:
        """Where the features of a source are."""
        named = (
            self._model,
            source.fingerprint,
            len(source),
            json.dumps(spec_of(how.transform), sort_keys=True),
            self.part_size,
        )
        return self.path / hashlib.sha256(repr(named).encode()).hexdigest()[:32]


def _file(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.safetensors"


def _is_whole(file: Path) -> bool:
    """Whether a part can be read; one that a full disk or a copy has cut is made again."""
    try:
        with safe_open(file, "np"):
            return True
    except (OSError, SafetensorError):
        return False


def _packed(part: Encoded) -> bytes:
    """A part as a file. Rows that are the same at both stages are kept once."""
    tensors = {"index": part.index, "pooled": part.rows["pooled"]}
    if part.rows["features"] is not part.rows["pooled"]:
        tensors["features"] = part.rows["features"]
    missing = json.dumps({str(index): reason for index, reason in part.missing.items()})
    packed: bytes = safetensors.numpy.save(tensors, metadata={"missing": missing})
    return packed


def _read(file: Path) -> Encoded:
    with safe_open(file, "np") as part:
        names = part.keys()
        pooled = part.get_tensor("pooled")
        features = part.get_tensor("features") if "features" in names else pooled
        missing = {int(index): reason for index, reason in json.loads(part.metadata()["missing"]).items()}
        return Encoded({"pooled": pooled, "features": features}, part.get_tensor("index"), missing)
