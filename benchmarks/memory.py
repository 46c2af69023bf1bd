# .venv/bin/python benchmarks/memory.py
"""Resident memory of a process with a source of a million entries against one with ten thousand, for each kind.

Each source is built and read from in a process of its own, which says what it holds then; the entries have no images,
since memory is asked for, not pictures. In a folder, the million names are hard links to one file.
"""

import argparse
import contextlib
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

SMALL, LARGE = 10_000, 1_000_000
KINDS = {"jsonl": "Manifest", "csv": "Manifest", "parquet": "Manifest", "folder": "ImageTextFolder"}
_LINKS = 50_000  # Fewer than any usual file system allows for one file.

_PROBE = """
import resource, sys, time
import psutil
from clip_lightning import data
started = time.process_time()
source = getattr(data, sys.argv[1])(sys.argv[2])
seconds = time.process_time() - started
samples = len(source)
for index in range(0, samples, samples // 1000):
    try:
        source.read(index)
    except data.Damaged:
        pass
print(samples, psutil.Process().memory_info().rss, seconds)
"""


def rows(number: int) -> Iterator[tuple[str, str]]:
    """Paths of images and captions."""
    for index in range(number):
        yield (
            f"images/{index // 1000:04d}/{index:07d}.jpg",
            f"a caption as long as they are on the average, number {index}",
        )


def write(kind: str, number: int, folder: Path) -> Path:
    """A source of so many entries."""
    path = folder / f"{number}.{kind}"
    if kind == "jsonl":
        with path.open("w") as file:
            file.writelines(json.dumps({"image": image, "caption": caption}) + "\n" for image, caption in rows(number))
    elif kind == "csv":
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("image", "caption"), *rows(number)])
    elif kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet

        images, captions = zip(*rows(number), strict=True)
        pa.parquet.write_table(pa.table({"image": images, "caption": captions}), path)
    else:
        _write_folder(path, number)
    return path


def _write_folder(path: Path, number: int) -> None:
    first: dict[str, Path] = {}
    for index, (image, caption) in enumerate(rows(number)):
        image_path = path / image
        if index % 1000 == 0:
            image_path.parent.mkdir(parents=True)
        for name in (image_path, image_path.with_suffix(".txt")):
            if index % _LINKS == 0:
                name.write_text(caption)
                first[name.suffix] = name
            else:
                os.link(first[name.suffix], name)


def measure(kind: str, number: int) -> tuple[float, float]:
    """Resident memory in bytes of a process with such a source, and the CPU seconds that building it took."""
    with tempfile.TemporaryDirectory() as folder:
        path = write(kind, number, Path(folder))
        command = [sys.executable, "-c", _PROBE, KINDS[kind], str(path)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        output = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    samples, memory, seconds = map(float, output.split())
    assert samples == number, (samples, number)
    return memory, seconds


def main() -> None:
    """Prints a line for each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", default=list(KINDS), help=f"of {list(KINDS)}; by default all")
    for kind in parser.parse_args().kinds:
        small, _ = measure(kind, SMALL)
        large, seconds = measure(kind, LARGE)
        print(
            f"{kind:8} {small / 1e6:6.0f} MB with {SMALL:,} entries, {large / 1e6:6.0f} MB with {LARGE:,}: "
            f"ratio {large / small:.3f}, {(large - small) / (LARGE - SMALL):.0f} bytes an entry; "
            f"built in {seconds:.1f} CPU seconds"
        )


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
