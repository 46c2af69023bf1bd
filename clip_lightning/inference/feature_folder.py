"""A folder with the features of many images, in parts that are there whole or not at all."""

import contextlib
import dataclasses
import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors
import safetensors.numpy
import torch
from filelock import FileLock, Timeout
from jaxtyping import Float, Int
from numpy import ndarray as NDArray
from torch import nn

from clip_lightning.files import part_of, replacing, write_atomically
from clip_lightning.inference.images import FoundImages, printable

FORMAT = 1
TENSOR = "image_features"
"""Name of the tensor in each part: projected, in float32, not of unit length."""

_DESCRIPTION = "features.json"
_SCHEMA = pa.schema(
    {"index": pa.int64(), "row": pa.int64(), "path": pa.string(), "key": pa.string(), "missing": pa.string()}
)


@dataclasses.dataclass(frozen=True)
class Description:
    """What a feature folder holds: features by one model of some images.

    Args:
        checkpoint: What the model was loaded from: an absolute path, or a name.
        weights: Hash of the model's weights, as ``weights_hash`` has it.
        embed_dim: Channels of a feature.
        images: Where the images are: absolute paths or patterns.
        fingerprint: Hash of which images these are.
        count: Number of images, those that cannot be read included.
        part_size: Images in a part; the last one may have fewer.
        quick_gelu: What was said of the activation of weights that do not name it; None if nothing.
    """

    checkpoint: str
    weights: str
    embed_dim: int
    images: list[str]
    fingerprint: str
    count: int
    part_size: int
    quick_gelu: bool | None = None

    @property
    def parts(self) -> range:
        """Numbers of all parts."""
        return range(-(-self.count // self.part_size))

    @property
    def activation(self) -> str:
        """What was said of the activation, as on the command line."""
        if self.quick_gelu is None:
            return "without --quick_gelu"
        return f"with --quick_gelu {str(self.quick_gelu).lower()}"

    def indices(self, part: int) -> Int[NDArray, "images"]:
        """Which images belong to a part."""
        return np.arange(part * self.part_size, min((part + 1) * self.part_size, self.count))


class FeatureFolder:
    """Features in parts: ``part-00000.safetensors`` with the rows, ``part-00000.parquet`` with a line for each image.

    A line has ``index``, ``path``, ``key``, ``row`` in the part's tensor, and for an image without one the reason, as
    ``missing``. The Parquet file of a part is written last, so where it is, the part is complete.

    Args:
        path: The folder.
        description: What it holds.
    """

    def __init__(self, path: Path, description: Description) -> None:
        self.path = path
        self.description = description

    @classmethod
    def create(cls, path: Path, description: Description) -> Self:
        """Begins a folder, or goes on with one that was begun with the same model on the same images.

        Raises:
            ValueError: If it holds other features, with what is different, or other files.
        """
        if (path / _DESCRIPTION).is_file():
            folder = cls.open(path)
            _check_same(path, folder.description, description)
            return folder
        if path.is_dir() and any(not name.name.startswith(".") for name in path.iterdir()):
            raise ValueError(f"{path} holds other files; choose an --output that is new or empty")
        path.mkdir(parents=True, exist_ok=True)
        content = {"format": FORMAT, **dataclasses.asdict(description)}
        write_atomically(path / _DESCRIPTION, (json.dumps(content, indent=2) + "\n").encode())
        return cls(path, description)

    @classmethod
    def open(cls, path: Path) -> Self:
        """A folder that is there.

        Raises:
            ValueError: If it holds no features, or in another format.
        """
        try:
            content = json.loads((path / _DESCRIPTION).read_bytes())
        except FileNotFoundError:
            raise ValueError(f"{path} holds no features: it has no {_DESCRIPTION}; make them with embed") from None
        except ValueError:
            raise ValueError(f"{path / _DESCRIPTION} is damaged; embed again into another folder") from None
        names = {field.name for field in dataclasses.fields(Description)}
        if isinstance(content, dict):
            content.setdefault("quick_gelu", None)  # which earlier folders do not have
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT or content.keys() != names:
            raise ValueError(f"{path / _DESCRIPTION} is not of format {FORMAT}; embed again with this version")
        return cls(path, Description(**content))

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Meanwhile, no other process that asks for it too writes into the folder.

        Raises:
            ValueError: If another one is at it.
        """
        try:
            with FileLock(self.path / ".lock", timeout=0):
                yield
        except Timeout:
            raise ValueError(f"{self.path} is being written by another process; wait for it") from None

    def unfinished(self) -> list[int]:
        """Numbers of the parts that are still to be made."""
        return [part for part in self.description.parts if not self._table(part).is_file()]

    def write_part(
        self, part: int, source: FoundImages, rows: Mapping[int, Float[NDArray, "channels"]], missing: Mapping[int, str]
    ) -> None:
        """Writes a part.

        Args:
            part: Its number.
            source: The images.
            rows: Feature of each image, by index.
            missing: Reason for each image that could not be read.
        """
        indices = self.description.indices(part).tolist()
        assert sorted([*rows, *missing]) == indices, "an image of the part is lost, or twice"
        found = [index for index in indices if index in rows]
        row = {index: number for number, index in enumerate(found)}
        width = self.description.embed_dim
        values = np.stack([rows[index] for index in found]) if found else np.zeros((0, width))
        tensor = safetensors.numpy.save({TENSOR: np.ascontiguousarray(values, dtype=np.float32)})
        table = pa.table(
            {
                "index": indices,
                "row": [row.get(index) for index in indices],
                "path": [printable(str(source.file(index).absolute())) for index in indices],
                "key": [printable(source.key(index)) for index in indices],
                "missing": [missing.get(index) for index in indices],
            },
            schema=_SCHEMA,
        )
        content = io.BytesIO()
        pq.write_table(table, content)
        for path, data in ((self._tensor(part), tensor), (self._table(part), content.getvalue())):
            # A known name for what is not complete, so that kills leave one file and not one each.
            with replacing(path, part_of(path)) as file:
                file.write(data)

    def complete(self) -> None:
        """Makes sure that all parts are there.

        Raises:
            ValueError: If some are not.
        """
        if lacking := self.unfinished():
            raise ValueError(
                f"{self.path} is not complete: {len(lacking)} of its {len(self.description.parts)} parts are still to "
                "be made; give the embed command again, which goes on"
            )

    def features(self, part: int) -> Float[NDArray, "images channels"]:
        """The rows of a part.

        Raises:
            ValueError: If the file is damaged.
        """
        with _whole(self._tensor(part)) as path:
            values: NDArray = safetensors.numpy.load_file(path)[TENSOR]
        return values

    def table(self, part: int) -> Any:
        """The lines of a part, as a ``pyarrow.Table``.

        Raises:
            ValueError: If the file is damaged.
        """
        with _whole(self._table(part)) as path:
            return pq.read_table(path, schema=_SCHEMA)

    def rows_of_parts(self) -> list[int]:
        """Number of features in each part.

        Raises:
            ValueError: If a file is damaged.
        """
        counts = []
        for part in self.description.parts:
            with _whole(self._tensor(part)) as path, safetensors.safe_open(path, "numpy") as file:
                counts.append(int(file.get_slice(TENSOR).get_shape()[0]))
        return counts

    def digest(self) -> str:
        """Changes whenever the features do: hash of the description and of each part's size and time of change."""
        states = [self._tensor(part).stat() for part in self.description.parts]
        content = [dataclasses.asdict(self.description), [[state.st_size, state.st_mtime_ns] for state in states]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def _tensor(self, part: int) -> Path:
        return self.path / f"part-{part:05d}.safetensors"

    def _table(self, part: int) -> Path:
        return self.path / f"part-{part:05d}.parquet"


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Says which file it is that a library cannot read."""
    try:
        yield path
    except (safetensors.SafetensorError, pa.ArrowException, KeyError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); remove part {path.stem.removeprefix('part-')}, .safetensors and .parquet, "
            "and embed again"
        ) from None


def weights_hash(model: nn.Module) -> str:
    """SHA-256 of a model's weights by name, type, shape and value: the same wherever and however they are stored."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _check_same(path: Path, there: Description, given: Description) -> None:
    """Refuses to go on with other features than those that a folder was begun with."""
    another = "choose another --output"
    if there.weights != given.weights:
        raise ValueError(
            f"{path} holds features of another model: of {there.checkpoint} (weights {there.weights[:12]}), not of "
            f"{given.checkpoint} (weights {given.weights[:12]}); {another}"
        )
    if there.quick_gelu != given.quick_gelu:
        raise ValueError(f"{path} was begun {there.activation}; give the same, or {another}")
    if there.fingerprint != given.fingerprint:
        same = there.images == given.images
        raise ValueError(
            f"{path} holds features of the {there.count:,} images of {', '.join(there.images)}, "
            + (f"which have changed since: there are {given.count:,}" if same else f"not of {', '.join(given.images)}")
            + f"; {another}"
        )
    if there.part_size != given.part_size:
        raise ValueError(
            f"{path} has parts of {there.part_size:,} images, not of {given.part_size:,}; give --part_size "
            f"{there.part_size}, or {another}"
        )
