"""Features of many images, part by part, by one process or several."""

import queue
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray as NDArray
from torch import multiprocessing
from torch.multiprocessing.spawn import start_processes

from clip_lightning.data import CenterCrop, ImageBatch, images_of
from clip_lightning.inference.feature_folder import FeatureFolder
from clip_lightning.inference.images import FoundImages
from clip_lightning.models import CLIP
from clip_lightning.objectives.scoring import evaluating


class Setting(NamedTuple):
    """How features are made; none of it changes what they are.

    Args:
        batch_size: Images encoded at once; a divisor of the folder's part size.
        num_workers: Processes that decode images, for each process that encodes; 0 decodes in that one.
        device: Where the model is: "cpu", "cuda", "cuda:1"; several processes share the devices of "cuda".
        num_threads: Threads of PyTorch in each process; None leaves them.
    """

    batch_size: int = 64
    num_workers: int = 0
    device: str = "cpu"
    num_threads: int | None = None


class Done(NamedTuple):
    """What has been done since the last time.

    Args:
        images: Number of images encoded.
        missing: For each image that could not be read, its place and the reason.
    """

    images: int
    missing: dict[str, str]


def embed(
    model: CLIP, source: FoundImages, folder: FeatureFolder, parts: Sequence[int], setting: Setting
) -> Iterator[Done]:
    """Encodes the images of some parts and writes each part when it is complete.

    Args:
        model: Encodes the images, in evaluation mode.
        source: The images that the folder is of.
        folder: Where the features go.
        parts: Numbers of the parts, ascending.
        setting: How.

    Yields:
        What was done, batch by batch.

    Raises:
        ValueError: If the parts are no multiple of the batch.
    """
    check_batch_size(setting.batch_size, folder.description.part_size)
    model = model.to(setting.device)
    writer = PartWriter(folder, source)
    for batch in part_batches(source, folder, parts, CenterCrop.of(model.pixels), setting):
        rows = encode(model, batch, setting.device)
        writer.add(batch, rows)
        yield Done(len(rows), {source.place(index): reason for index, reason in batch.missing.items()})


def encode(model: CLIP, batch: ImageBatch, device: torch.device | str) -> Float[NDArray, "images channels"]:
    """Image features of a batch, which are projected and not of unit length."""
    if not len(batch.indices):
        return np.zeros((0, model.embed_dim), dtype=np.float32)
    with evaluating(model):
        features = model.encode_image(model.normalize(batch.image.to(device)))
    values: NDArray = features.float().cpu().numpy()
    return values


def part_batches(
    source: FoundImages, folder: FeatureFolder, parts: Sequence[int], transform: CenterCrop, setting: Setting
) -> Iterator[ImageBatch]:
    """The images of some parts, read ahead over the ends of the parts; no batch has images of two.

    So a row is a function of its part alone, whoever makes it and whatever was there before.
    """
    if not parts:
        return iter(())
    indices = np.concatenate([folder.description.indices(part) for part in parts])
    return images_of(source, indices, transform, setting.batch_size, setting.num_workers)


def check_batch_size(batch_size: int, part_size: int) -> None:
    """Refuses batches of which some would have images of two parts."""
    if part_size < 1:
        raise ValueError(f"part_size {part_size} must be 1 at least")
    if batch_size < 1 or part_size % batch_size:
        raise ValueError(f"batch_size {batch_size} must divide the {part_size} images of a part; take a power of 2")


class PartWriter:
    """Collects features and writes each part as soon as all of its images have come, which they do in order.

    Args:
        folder: Where the parts go.
        source: The images.
    """

    def __init__(self, folder: FeatureFolder, source: FoundImages) -> None:
        self._folder = folder
        self._source = source
        self._rows: dict[int, NDArray] = {}
        self._missing: dict[int, str] = {}

    def add(self, batch: ImageBatch, rows: Float[NDArray, "images channels"]) -> None:
        """Takes a batch and its features."""
        self._rows.update(zip(batch.indices.tolist(), rows, strict=True))
        self._missing.update(batch.missing)
        description = self._folder.description
        part = max([*batch.indices.tolist(), *batch.missing]) // description.part_size
        if len(self._rows) + len(self._missing) == len(description.indices(part)):
            self._folder.write_part(part, self._source, self._rows, self._missing)
            self._rows, self._missing = {}, {}


def embed_in_processes(
    load: Callable[[], CLIP],
    source: FoundImages,
    folder: FeatureFolder,
    parts: Sequence[int],
    setting: Setting,
    num_processes: int,
) -> Iterator[Done]:
    """Does the same in several processes, each of which makes parts of its own.

    Args:
        load: Loads the model, in each process; it can be sent there.
        source: The images that the folder is of.
        folder: Where the features go.
        parts: Numbers of the parts, ascending.
        setting: How.
        num_processes: Processes; no more are started than there are parts.

    Yields:
        What was done, of whichever process.

    Raises:
        OSError: If one of them cannot write, as where the disk is full.
    """
    number = min(num_processes, len(parts))
    if not number:
        return
    shares = [share.tolist() for share in np.array_split(np.asarray(parts), number)]
    reports: Any = multiprocessing.get_context("spawn").Queue()
    arguments = (load, source, folder, shares, setting, reports)
    start: Any = start_processes
    processes = start(_process, arguments, number, join=False, start_method="spawn")
    running = True
    try:
        while running:
            running = not processes.join(timeout=0.2)
            yield from _received(reports)
    finally:
        for process in processes.processes:
            process.terminate()
            process.join()


def _received(reports: Any) -> Iterator[Done]:
    """What has come since the last time."""
    while True:
        try:
            report = reports.get_nowait()
        except queue.Empty:
            return
        if isinstance(report, OSError):
            raise report
        yield report


def _process(
    rank: int,
    load: Callable[[], CLIP],
    source: FoundImages,
    folder: FeatureFolder,
    shares: Sequence[Sequence[int]],
    setting: Setting,
    reports: Any,
) -> None:
    """One of the processes."""
    if setting.num_threads is not None:
        torch.set_num_threads(setting.num_threads)
    if setting.device == "cuda":
        setting = setting._replace(device=f"cuda:{rank % torch.cuda.device_count()}")
    try:
        for done in embed(load(), source, folder, shares[rank], setting):
            reports.put(done)
    except OSError as error:
        reports.put(error)
