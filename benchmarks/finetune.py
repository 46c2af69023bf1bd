# .venv/bin/python benchmarks/finetune.py
"""What fine-tuning gains on new classes, and loses on those that the model knew.

The quickstart's model has seen 48 of the 64 pairs of colour and shape. It is tuned on scenes of the 16 others alone:
plainly, with the learning rate that it was trained with, and with ``configs/finetune.yaml``. Each result is also moved
back towards the start by ``interpolate``; of these, the one with the best mean of both accuracies on further scenes is
taken. Printed is the zero-shot accuracy over all 64 pairs on test scenes of both, with 95 % intervals.
"""

import argparse
import contextlib
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch

import clip_lightning
from clip_lightning.__main__ import main as run
from clip_lightning.data import CenterCrop, LabelledDataset, ShapeScenesLabels
from clip_lightning.evaluation import ZeroShot
from clip_lightning.inference import LiveContext
from clip_lightning.results import Result

ALPHAS = ("0.2", "0.4", "0.6", "0.8")
STEPS = 96
WARMUP = 50
# Scenes of the held-out pairs to learn from, and to choose by, are of benchmarks with other seeds.
TUNING = [
    *("--data.train", "{class_path: ShapeScenes, init_args: {split: heldout, seed: 1, size: 2048}}"),
    *("--data.samples_per_epoch", "null", "--trainer.max_epochs", "null", "--trainer.max_steps", str(STEPS)),
    *("--model.schedule.init_args.warmup_steps", str(WARMUP), "--evaluation.before_training", "false"),
]
QUIET = [
    *("--num_threads", "1", "--trainer.logger", "false", "--evaluation.val", "[]", "--evaluation.test", "[]"),
    *("--checkpoints.monitor", "val/loss", "--checkpoints.mode", "min"),
]
CHOICE = [ShapeScenesLabels("val"), ShapeScenesLabels("heldout", seed=2)]
TEST = [ShapeScenesLabels("test"), ShapeScenesLabels("heldout")]


class Both(NamedTuple):
    """Accuracy on the pairs that the start has seen, and on those that it was tuned on."""

    known: Result
    new: Result

    @property
    def mean(self) -> float:
        """Of both."""
        return (self.known.value + self.new.value) / 2


def fit(folder: Path, *arguments: str) -> Path:
    """The last checkpoint of a run."""
    assert run(["fit", "--config", "configs/quickstart.yaml", *arguments, *QUIET, "--run_dir", str(folder)]) == 0
    return folder / "checkpoints" / "last.ckpt"


def accuracies(checkpoint: Path, datasets: list[ShapeScenesLabels]) -> Both:
    """Of a checkpoint."""
    model, _, _, scorer, _ = clip_lightning.load(checkpoint)
    context = LiveContext(scorer, CenterCrop.of(model.pixels))
    return Both(*(accuracy(context, dataset) for dataset in datasets))


def accuracy(context: LiveContext, dataset: LabelledDataset) -> Result:
    """Of one set."""
    evaluator = ZeroShot(dataset)
    return evaluator.compute(evaluator.collect(context))[0]


def between(tuned: Path, start: Path, folder: Path) -> tuple[str, Path]:
    """The share of the tuned weights that is best by the scenes to choose by, and its checkpoint."""
    ends = ["--checkpoint", str(tuned), "--towards", str(start)]
    assert run(["interpolate", *ends, "--alpha", *ALPHAS, "--output", str(folder)]) == 0
    files = {alpha: folder / f"alpha-{alpha}.ckpt" for alpha in ALPHAS}
    best = max(ALPHAS, key=lambda alpha: accuracies(files[alpha], CHOICE).mean)
    return best, files[best]


def show(name: str, checkpoint: Path) -> None:
    """Prints a line of the table."""
    both = accuracies(checkpoint, TEST)
    cells = [f"{100 * one.value:.1f} ({100 * one.interval[0]:.1f} to {100 * one.interval[1]:.1f})" for one in both]
    print(f"| {name:32} | {cells[0]:20} | {cells[1]:20} | {100 * both.mean:.1f} |", flush=True)


def main() -> None:
    """Prints the table, a line as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", default="10", help="of the start")
    parser.add_argument("--start", type=Path, help="a checkpoint of the quickstart, instead of training one")
    parser.add_argument("--lrs", nargs="*", default=["1.0e-5", "5.0e-4"], help="for configs/finetune.yaml")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        start = options.start or fit(folder / "start", "--trainer.max_epochs", options.epochs)
        show("the start", start)
        ways = {"plain, 8e-3": [*TUNING]}
        for lr in options.lrs:
            ways[f"finetune.yaml, {lr}"] = [
                *("--config", "configs/finetune.yaml", *TUNING, "--model.optimizer.init_args.lr", lr)
            ]
        for number, (name, arguments) in enumerate(ways.items()):
            tuned = fit(folder / str(number), *arguments, "--model.weights", str(start))
            show(name, tuned)
            alpha, file = between(tuned, start, folder / f"between-{number}")
            show(f"the same, interpolated, alpha {alpha}", file)
    print(f"{time.process_time():.0f} CPU seconds, without those of workers")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
