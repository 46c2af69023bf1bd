# mkdir -p data && tar -xf grocery-store.tar -C data
# .venv/bin/python benchmarks/time_to_accuracy.py
"""CPU time to a zero-shot accuracy, ours against open_clip_train's, from scratch on photographs of groceries.

Alike are the photographs and captions, the model and its first weights, batch, AdamW, learning rate, warm-up and
cosine, fp32, and the augmentation: a square crop of 0.4 to 1 of the side (open_clip_train draws the area and we draw
the side, evenly). Each trainer does the rest in its own way, from the command line: it reads, decodes, crops,
tokenises, and takes its step with its own loss. Ours counts captions that repeat in a batch as positives, unless
``--plain-loss`` says otherwise; theirs knows no such thing.

CPU time is that of all processes of a trainer from its start, imports included, until a checkpoint is there, taken as
the files appear. One scorer outside both reads the checkpoints, with the same pixels and tokens for both, and counts
which of the test photographs are nearest to the prompt of their product. Between two checkpoints the time of an
accuracy is interpolated. Printed are a line for each checkpoint and a row for each seed, and the ratio of ours to
theirs: below 1 is faster.
"""

import argparse
import contextlib
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import open_clip
import psutil
import torch
import torch.nn.functional as F
import yaml
from safetensors.torch import save_file

import clip_lightning
from clip_lightning.data import CenterCrop, decode

SIZE = 64
MODEL = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": SIZE, "layers": [1, 1, 1, 1], "width": 32, "head_width": 64},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 2, "layers": 2},
}
LR, BETAS, EPS, WEIGHT_DECAY = 1e-3, (0.9, 0.999), 1e-8, 0.2
PROMPT = "a photo of {}"


class Photograph(NamedTuple):
    """A row of the data."""

    path: Path
    caption: str
    label: int
    class_name: str


class Point(NamedTuple):
    """A checkpoint, and what all processes of its trainer had computed when it was there."""

    path: Path
    seconds: float


def photographs(table: Path, split: str) -> list[Photograph]:
    """Rows of a split."""
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    return [
        Photograph((table.parent / row["image"]).resolve(), row["caption"], row["label"], row["class_name"])
        for row in rows
        if row["split"] == split
    ]


def write_start(folder: Path, seed: int) -> None:
    """A folder of open_clip with random weights, from which both begin."""
    folder.mkdir()
    config = folder / "start.json"
    config.write_text(json.dumps(MODEL))
    open_clip.add_model_config(config)
    torch.manual_seed(seed)
    save_file(open_clip.create_model("start").state_dict(), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL, "preprocess_cfg": {}}))
    config.unlink()


def our_command(folder: Path, start: Path, table: Path, seed: int, options: argparse.Namespace) -> list[str]:
    """``fit``, which keeps a checkpoint every so many epochs and measures nothing."""
    vision, text = MODEL["vision_cfg"], MODEL["text_cfg"]
    config: dict[str, Any] = {
        "run_dir": str(folder / "run"),
        "seed_everything": seed,
        "num_threads": 1,
        "trainer": {
            "accelerator": "cpu",
            "max_epochs": options.epochs,
            "check_val_every_n_epoch": options.epochs,
            "logger": {"class_path": "clip_lightning.tracking.logger.MLflowTracker", "init_args": {"live": False}},
        },
        "model": {
            "embed_dim": MODEL["embed_dim"],
            "image_projection": False,
            "weights": str(start),
            "tokenizer": {"class_path": "CLIPTokenizer", "init_args": {"context_length": text["context_length"]}},
            "image_encoder": {
                "class_path": "ModifiedResNet",
                "init_args": {
                    "image_size": SIZE,
                    "blocks": vision["layers"],
                    "width": vision["width"],
                    "output_dim": MODEL["embed_dim"],
                    "num_heads": 32 * vision["width"] // vision["head_width"],
                },
            },
            "text_encoder": {
                "class_path": "TextTransformer",
                "init_args": {"width": text["width"], "depth": text["layers"], "num_heads": text["heads"]},
            },
            "objective": {"class_path": "Contrastive", "init_args": {"repeated_captions": not options.plain_loss}},
            "optimizer": {
                "class_path": "torch.optim.AdamW",
                "init_args": {"lr": LR, "betas": list(BETAS), "eps": EPS, "weight_decay": WEIGHT_DECAY},
            },
            "schedule": {"class_path": "WarmupCosine", "init_args": {"warmup_steps": options.warmup}},
        },
        "data": {
            "train": {
                "class_path": "Manifest",
                "init_args": {"path": str(table), "caption_column": "caption", "where": {"split": "train"}},
            },
            # At the end alone, since the checkpoints' metric must be one that there is.
            "val": {
                "class_path": "Manifest",
                "init_args": {"path": str(table), "caption_column": "caption", "where": {"split": "val"}},
            },
            "batch_size": options.batch,
            "crop_scale": [0.4, 1.0],
            "num_workers": 1,
        },
        "checkpoints": {"every_n_epochs": options.every, "keep_every": 1},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return [sys.executable, "-m", "clip_lightning", "fit", "--config", str(folder / "config.yaml")]


def their_command(folder: Path, start: Path, table: Path, seed: int, options: argparse.Namespace) -> list[str]:
    """open_clip_train on the same pairs, listed as it takes them."""
    with (folder / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(["filepath", "title"])
        writer.writerows((row.path, row.caption) for row in photographs(table, "train"))
    settings = {
        "dataset-type": "csv",
        "csv-img-key": "filepath",
        "csv-caption-key": "title",
        "train-data": folder / "pairs.csv",
        "model": f"local-dir:{start}",
        "device": "cpu",
        "precision": "fp32",
        "workers": 1,
        "seed": seed,
        "batch-size": options.batch,
        "epochs": options.epochs,
        "warmup": options.warmup,
        "lr": LR,
        "beta1": BETAS[0],
        "beta2": BETAS[1],
        "eps": EPS,
        "wd": WEIGHT_DECAY,
        "save-frequency": options.every,
        "logs": folder,
        "name": "run",
    }
    flags = [part for key, value in settings.items() for part in (f"--{key}", str(value))]
    # timm's pipeline, since open_clip's own cannot be told to crop squares.
    flags += ["--aug-cfg", "use_timm=True", "scale=(0.16,1.0)", "ratio=(1.0,1.0)"]
    return [sys.executable, "-m", "open_clip_train.main", *flags]


def cpu_seconds(root: psutil.Process) -> float:
    """CPU time of a process, of those below it, and of those that they have waited for."""
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def trained(command: Sequence[str], folder: Path, pattern: str, order: Callable[[Path], int]) -> list[Point]:
    """Runs a trainer, and notes the CPU time at which each of its checkpoints is there, the first ones first."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    found: dict[Path, float] = {}
    with (folder / "log.txt").open("w") as log:
        process = psutil.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        seconds = 0.0
        while process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                seconds = max(seconds, cpu_seconds(process))
            for path in folder.glob(pattern):
                found.setdefault(path, seconds)
            time.sleep(0.1)
    for path in folder.glob(pattern):
        found.setdefault(path, seconds)
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} has failed:\n{(folder / 'log.txt').read_text()[-2000:]}")
    return sorted((Point(path, seconds) for path, seconds in found.items()), key=lambda point: order(point.path))


class Scorer:
    """Zero-shot accuracy on photographs that are decoded once; what is compared is cosines to the prompts.

    Args:
        rows: The photographs, of all classes that there are.
    """

    def __init__(self, rows: Sequence[Photograph]) -> None:
        crop = CenterCrop(SIZE)
        self.images = torch.stack([crop(decode(row.path.read_bytes())) for row in rows])
        names = {row.label: row.class_name for row in rows}
        self.labels = torch.tensor([sorted(names).index(row.label) for row in rows])
        self.prompts = open_clip.SimpleTokenizer()([PROMPT.format(names[label]) for label in sorted(names)])

    @torch.no_grad()
    def __call__(self, path: Path) -> float:
        """Share of the photographs whose product's prompt is the nearest of all."""
        model = clip_lightning.load(path).model
        classes = F.normalize(model.encode_text(self.prompts), dim=1)
        nearest = [
            (F.normalize(model.encode_image(model.normalize(part)), dim=1) @ classes.T).argmax(1)
            for part in self.images.split(256)
        ]
        return (torch.cat(nearest) == self.labels).float().mean().item()


def as_open_clips(path: Path, start: Path) -> Path:
    """A checkpoint of open_clip_train as a folder that says what model it is of."""
    folder = path.with_suffix("")
    folder.mkdir()
    (folder / "open_clip_config.json").write_bytes((start / "open_clip_config.json").read_bytes())
    (folder / "open_clip_pytorch_model.bin").hardlink_to(path)
    return folder


def time_to(target: float, curve: Sequence[tuple[float, float]]) -> float | None:
    """Seconds at which an accuracy is first reached, on the line between two measurements; None if it never is.

    Args:
        target: The accuracy.
        curve: Seconds and accuracy of each checkpoint; before the first one the accuracy is taken for 0.
    """
    before = (0.0, 0.0)
    for seconds, accuracy in curve:
        if accuracy >= target:
            share = (target - before[1]) / (accuracy - before[1])
            return before[0] + share * (seconds - before[0])
        before = seconds, accuracy
    return None


def curves(seed: int, table: Path, scorer: Scorer, options: argparse.Namespace) -> dict[str, list[tuple[float, float]]]:
    """CPU seconds and accuracy of the checkpoints of both trainers."""
    found = {}
    with tempfile.TemporaryDirectory() as name:
        start = Path(name) / "start"
        write_start(start, seed)
        # Which trains first alternates, so that a machine that others use meets both alike.
        for whose in ("ours", "open_clip") if seed % 2 else ("open_clip", "ours"):
            folder = Path(name) / whose
            folder.mkdir()
            if whose == "ours":
                command = our_command(folder, start, table, seed, options)
                points = trained(command, folder, "run/checkpoints/step-*.ckpt", lambda path: int(path.stem[5:]))
            else:
                command = their_command(folder, start, table, seed, options)
                points = trained(command, folder, "run/checkpoints/epoch_*.pt", lambda path: int(path.stem[6:]))
                points = [Point(as_open_clips(path, start), seconds) for path, seconds in points]
            found[whose] = [(seconds, scorer(path)) for path, seconds in points]
            for number, (seconds, accuracy) in enumerate(found[whose], start=1):
                print(f"  seed {seed} {whose:9} epoch {number * options.every:3}: {seconds:6.0f} s {accuracy:6.1%}")
            sys.stdout.flush()
    return found


def main() -> None:
    """Prints the checkpoints and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--target", type=float, default=0.4, help="zero-shot accuracy, 0-1")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--every", type=int, default=2, help="epochs between two checkpoints")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--warmup", type=int, default=50, help="steps of warm-up")
    parser.add_argument("--plain-loss", action="store_true", help="ours takes repeated captions for negatives too")
    parser.add_argument("--data", type=Path, default=Path("data/grocery-store"), help="the unpacked data")
    options = parser.parse_args()
    table = options.data / "captions.jsonl"
    if not table.is_file():
        raise SystemExit(f"{table} is not there; unpack grocery-store.tar, as the first line of this file says")
    torch.set_num_threads(1)
    scorer = Scorer(photographs(table, "test"))
    ratios, rows = [], []
    for seed in options.seeds:
        found = curves(seed, table, scorer, options)
        ours, theirs = (time_to(options.target, found[whose]) for whose in ("ours", "open_clip"))
        ratio = "not reached by both" if ours is None or theirs is None else f"{ours / theirs:.2f}"
        if ours is not None and theirs is not None:
            ratios.append(ours / theirs)
        last = f"{found['ours'][-1][1]:.1%} and {found['open_clip'][-1][1]:.1%}"
        times = " and ".join("never" if time is None else f"{time:.0f} s" for time in (ours, theirs))
        rows.append(
            f"seed {seed}: {options.target:.0%} after {times} (ours, open_clip), ratio {ratio}; at the end {last}"
        )
    print("\n".join(rows))
    if ratios:
        print(f"ratio: median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
