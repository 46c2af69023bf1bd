# OMP_NUM_THREADS=1 .venv/bin/python benchmarks/half_precision.py
"""What half-precision moments and text weights save in memory, and how far the quickstart drifts from single precision.

The quickstart is trained for 240 steps of 64 pairs with each of three seeds, at a learning rate of 0.002, since higher
ones of so small a batch end in other places after the least disturbance. How much that is by itself, the second line
says: torch's other kernel differs in the order of roundings alone. Loss and accuracy are measured on the same held-out
pairs and scenes; beside each mean stands the range over the seeds. Bytes are those of the checkpoint: of all weights,
and of the optimiser's state.
"""

import argparse
import contextlib
import io
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from clip_lightning.__main__ import main as clip_lightning
from clip_lightning.checkpoint import read_checkpoint
from clip_lightning.results import read_results
from clip_lightning.tracking import journal

CONFIG = Path(__file__).parents[1] / "configs" / "quickstart.yaml"
SHORT = ["--trainer.max_epochs", "1", "--data.samples_per_epoch", "15360", "--data.batch_size", "64"]
SHORT += ["--model.schedule.warmup_steps", "40"]
SHORT += ["--num_threads", "1", "--trainer.logger", "false"]
SETTINGS = "lr: 2.0e-3, betas: [0.9, 0.98], eps: 1.0e-6, weight_decay: 0.2"
TORCH = "{class_path: torch.optim.AdamW, init_args: {%s, foreach: %s}}"
HALF = f"{{class_path: HalfPrecisionAdamW, init_args: {{{SETTINGS}}}}}"
VARIANTS = {
    "single precision": ["--model.optimizer", TORCH % (SETTINGS, "false")],
    "the same, other kernel": ["--model.optimizer", TORCH % (SETTINGS, "true")],
    "half moments": ["--model.optimizer", HALF],
    "half moments and text weights": ["--model.optimizer", HALF, "--model.text_tuning.half_precision", "true"],
}


def tensors(nested: Any) -> Iterator[torch.Tensor]:
    """All tensors of nested containers."""
    if isinstance(nested, torch.Tensor):
        yield nested
    elif isinstance(nested, dict | list | tuple):
        for item in nested.values() if isinstance(nested, dict) else nested:
            yield from tensors(item)


def measure(arguments: list[str], seed: int) -> dict[str, float]:
    """Trains once; figures by name."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = ["fit", "--config", str(CONFIG), *SHORT, *arguments, "--seed_everything", str(seed)]
        with contextlib.redirect_stdout(io.StringIO()):
            assert clip_lightning([*command, "--run_dir", str(run)]) == 0
        checkpoint = read_checkpoint(run / "checkpoints" / "last.ckpt")
        accuracy = {row.name: row.value for row in read_results(run / "results.json")}
        return {
            "loss": float(journal.metrics(run / "journal.jsonl")["val/loss"].value[-1]),
            "accuracy": 100 * accuracy["test/zero_shot/shape_scenes/accuracy"],
            "weights": sum(tensor.nbytes for tensor in tensors(checkpoint["state_dict"])),
            "state": sum(tensor.nbytes for tensor in tensors(checkpoint["optimizer_states"])),
        }


def main() -> None:
    """Prints a line for each variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    print("| | weights, bytes | optimiser, bytes | validation loss | zero-shot accuracy, % |\n|---|---|---|---|---|")
    for name, arguments in VARIANTS.items():
        runs = []
        for seed in range(seeds):
            runs.append(measure(arguments, seed))
            print(name, seed, runs[-1], file=sys.stderr, flush=True)
        ranges = []
        for figure, digits in (("loss", 3), ("accuracy", 1)):
            values = [run[figure] for run in runs]
            ranges.append(
                f"{statistics.mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"
            )
        print(f"| {name} | {runs[0]['weights']:,} | {runs[0]['state']:,} | {' | '.join(ranges)} |", flush=True)


if __name__ == "__main__":
    main()
