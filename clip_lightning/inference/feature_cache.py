"""Features on disk, so that no image is encoded twice by the same weights."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open
from torch import distributed, nn

from clip_lightning.data import Source
from clip_lightning.files import write_atomically
from clip_lightning.inference.feature_folder import weights_hash
from clip_lightning.inference.features import Encoded, ImagePass, encode_images, joined, place_among
from clip_lightning.models import CLIP
from clip_lightning.results import counted
from clip_lightning.spec import spec_of

PART_SIZE = 4096
"""Images in a file. What is done of a part is lost where a process is killed, what is done of others is not."""


def _nobody(line: str) -> None:
    """Hears nothing."""


class FeatureCache:
    """A folder of features for each source, transform and model, in parts that are there whole or not at all.

    Processes share the parts that are missing, and the next call goes on where one was killed.

    Args:
        path: The folder; it is made when something is kept.
        model: Hash of the weights and of what else determines the rows, as ``image_tower_hash`` has it.
        tell: Is told in a line what is read and what is made.
        part_size: Images in a part, at least 1.
    """

    def __init__(
        self, path: Path, model: str, tell: Callable[[str], None] = _nobody, part_size: int = PART_SIZE
    ) -> None:
        self.path = path
        self.part_size = part_size
        self._model = model
        self._tell = tell

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
        # All look before any writes, so that all see the same.
        absent = [number for number in range(len(parts)) if not _is_whole(_file(folder, number))]
        self._tell(self._plan(source, folder, sum(len(parts[number]) for number in absent)))
        _wait(world, group)
        for number in absent[rank::world]:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(_file(folder, number), _packed(encode_images(how, source, parts[number])))
        _wait(world, group)
        return joined(source, [_read(_file(folder, number)) for number in range(len(parts))])

    def folder(self, how: ImagePass, source: Source) -> Path:
        """Where the features of a source are: beside those of other models."""
        transform = json.dumps(spec_of(how.transform), sort_keys=True)
        images = hashlib.sha256(repr((source.fingerprint, len(source), transform, self.part_size)).encode())
        return self.path / images.hexdigest()[:16] / self._model[:16]

    def _plan(self, source: Source, folder: Path, absent: int) -> str:
        """What will be read, and what made."""
        if not absent:
            return f"{source.name}: features of {counted(len(source), 'image')}, from {folder}"
        line = f"{source.name}: {counted(absent, 'image')} to encode"
        if absent < len(source):
            return f"{line}, {len(source) - absent:,} are done"
        others = folder.parent.is_dir() and any(folder.parent.iterdir())
        return f"{line}; what is kept of them is of other weights" if others else line


def image_tower_hash(model: CLIP) -> str:
    """SHA-256 of all that determines an image's rows: weights, architecture, activation, normalisation.

    Models that share an image tower, as with a locked one, share it.
    """
    towers = nn.ModuleDict({"image_encoder": model.image_encoder})
    if model.image_projection is not None:
        towers["image_projection"] = model.image_projection
    described = json.dumps([spec_of(model.image_encoder), spec_of(model.pixels)], sort_keys=True)
    return hashlib.sha256(f"{weights_hash(towers)} {described}".encode()).hexdigest()


def _wait(world: int, group: distributed.ProcessGroup | None) -> None:
    if world > 1:
        distributed.barrier(group)


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
