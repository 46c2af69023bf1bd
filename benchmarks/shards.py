# .venv/bin/python benchmarks/shards.py
"""What reading shards by their index costs against webdataset's reading of the same files.

The shards hold random bytes in place of images, each with a caption and a JSON member, and lie in the system's cache
after a first pass, so that what is counted is the reader and not the disk. A pass takes every sample once, image bytes
and caption, undecoded; the kinds of reading alternate over the rounds of one process. Counted are CPU seconds, and
printed are the samples for each of them, and the ratio to webdataset's with its range over the rounds.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import webdataset

from clip_lightning.data import Order, Shards


def write(folder: Path, shards: int, samples: int, kilobytes: int) -> list[str]:
    """Shards by webdataset's writer."""
    paths = [str(folder / f"{number:04d}.tar") for number in range(shards)]
    for number, path in enumerate(paths):
        with webdataset.TarWriter(path) as writer:
            for index in range(samples):
                parts = {"jpg": os.urandom(1000 * kilobytes), "txt": f"caption {index}", "json": {"index": index}}
                writer.write({"__key__": f"{number:04d}{index:06d}", **parts})
    return paths


def stream(paths: list[str], shuffle: int) -> Iterator[tuple[bytes, str]]:
    """Samples by webdataset, shuffled in a buffer of a given size, or in the order of the files."""
    dataset = webdataset.WebDataset(paths, shardshuffle=100 if shuffle else False)
    for sample in dataset.shuffle(shuffle) if shuffle else dataset:
        yield sample["jpg"], sample["txt"].decode()


def by_index(source: Shards, window_blocks: int | None) -> Iterator[tuple[bytes, str]]:
    """Our samples, in training's order with windows of some shards, or in the order of the files."""
    indices = range(len(source))
    if window_blocks is not None:
        order = Order([source.block_sizes], window_blocks=window_blocks)
        indices = order.slice(0, 0, len(source))[:, 1].tolist()
    for index in indices:
        sample = source.read(index)
        yield sample.image, sample.captions[0]


def seconds(read: Callable[[], Iterator[tuple[bytes, str]]], samples: int) -> float:
    """CPU seconds of a pass."""
    start = time.process_time()
    taken = sum(1 for _ in read())
    assert taken == samples, (taken, samples)
    return time.process_time() - start


def compare(paths: list[str], rounds: int) -> None:
    """Prints rates and ratios."""
    start = time.process_time()
    source = Shards(list(paths))
    indexing = time.process_time() - start
    kinds = {
        "webdataset, in order": lambda: stream(paths, 0),
        "webdataset, shuffle(1000)": lambda: stream(paths, 1000),
        "index, in order": lambda: by_index(source, None),
        "index, windows of 4 shards": lambda: by_index(source, 4),
        "index, over all shards": lambda: by_index(source, len(paths)),
    }
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(rounds + 1):
        # Every other round goes backwards, so that a machine that slows down favours none.
        for kind in list(kinds)[:: 1 if number % 2 == 0 else -1]:
            taken = seconds(kinds[kind], len(source))
            if number:  # The first warms up.
                found[kind].append(taken)
    for kind, times in found.items():
        base = found["webdataset, in order" if "in order" in kind else "webdataset, shuffle(1000)"]
        ratios = [theirs / ours for ours, theirs in zip(times, base, strict=True)]
        spread = f"x{statistics.median(ratios):.1f} ({min(ratios):.1f}-{max(ratios):.1f})"
        print(f"{kind:>27}: {len(source) / statistics.median(times):8,.0f} samples/s, {spread}")
    once = indexing / statistics.median(found["webdataset, in order"])
    print(f"building the index, once: {indexing:.2f} s, {once:.2f} of a pass of webdataset")


def main() -> None:
    """Prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=10, help="number of shards")
    parser.add_argument("--samples", type=int, default=200, help="samples in a shard")
    parser.add_argument("--kilobytes", type=int, default=170, help="size of an image")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare(write(Path(folder), options.shards, options.samples, options.kilobytes), options.rounds)


if __name__ == "__main__":
    main()
