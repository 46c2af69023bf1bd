# .venv/bin/python benchmarks/first_step.py
"""CPU time until the first training step on a folder of one's own, with configs/photos.yaml, against that of imports.

The folder holds 5,000 JPEG files of 400 x 300 pixels in 50 classes' folders. Both times are of processes with their
children: one that does no more than import what the run imports, and ``fit`` up to the end of its first step.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image

ROOT = Path(__file__).parents[1]
CLASSES, IMAGES, ROUNDS = 50, 5000, 5
MODULES = ["clip_lightning.cli.fit", "clip_lightning.data", "clip_lightning.evaluation", "timm"]


class FirstStep(Callback):
    """Writes what CPU seconds the process and its children have taken until the end of the first step.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Writes them."""
        process = psutil.Process()
        times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
        gone = process.cpu_times()
        seconds = sum(one.user + one.system for one in times) + gone.children_user + gone.children_system
        Path(self.path).write_text(str(seconds))


def make_folder(root: Path) -> None:
    """Photographs in a folder for each class, and the list of classes."""
    generator = np.random.default_rng(0)
    names = [f"thing number {index}" for index in range(CLASSES)]
    root.mkdir()
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in names))
    for index in range(IMAGES):
        # Smooth, as photographs are, so that the files have the size of photographs.
        colours = generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        path = root / "photos" / names[index % CLASSES].replace(" ", "_") / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(colours).resize((400, 300), Image.Resampling.BICUBIC).save(path, quality=90)


def run(command: list[str], folder: Path) -> float:
    """Runs a command in a folder.

    Returns:
        The CPU seconds of its process and of the children that it waited for.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    before = os.times()
    process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{process.stdout}{process.stderr}")
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def measure(folder: Path) -> tuple[float, float]:
    """CPU seconds of the imports, and of a run until its first step is done."""
    imports = run([sys.executable, "-c", f"import {', '.join(MODULES)}"], folder)
    done = folder / "done"
    done.unlink(missing_ok=True)
    callback = f"[{{class_path: benchmarks.first_step.FirstStep, init_args: {{path: {done}}}}}]"
    command = [sys.executable, "-m", "clip_lightning", "fit", "--config", str(ROOT / "configs" / "photos.yaml")]
    run([*command, "--trainer.callbacks", callback, "--trainer.max_epochs", "-1", "--trainer.max_steps", "1"], folder)
    return imports, float(done.read_text())


def main() -> None:
    """Prints the times of each round, and their medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_folder(folder / "data")
        times = []
        for number in range(1, rounds + 1):
            times.append(measure(folder))
            print(
                f"round {number}: imports {times[-1][0]:.1f} CPU s, first step done after {times[-1][1]:.1f}",
                flush=True,
            )
        imports, total = np.median(times, axis=0)
        print(f"median: imports {imports:.1f} CPU s, first step done after {total:.1f} with its imports")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
