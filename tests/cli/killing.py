"""Runs of the real command line in forked processes, killed where a test says, and what is left of them."""

import os
import resource
import signal
import sys
import traceback
from collections import Counter
from pathlib import Path

import torch

from clip_lightning import files
from clip_lightning.__main__ import main
from clip_lightning.callbacks import Checkpoints, RunEvaluators, checkpoints
from clip_lightning.checkpoint import read_checkpoint
from clip_lightning.datamodules import ImageTextDataModule
from clip_lightning.results import read_results
from clip_lightning.task import CLIPTask
from clip_lightning.tracking import journal

DRAWING = str(Path(__file__).parents[1] / "conf" / "drawing.yaml")

# Where a kill can strike: the function that is then being called, by name of the place.
PLACES = {
    "building": (ImageTextDataModule, "train_loader"),
    "forward": (CLIPTask, "training_step"),
    "update": (CLIPTask, "optimizer_step"),
    "validation": (CLIPTask, "validation_step"),
    "evaluation": (RunEvaluators, "_measure"),
    "after a step": (Checkpoints, "on_train_batch_end"),
    "after an epoch": (Checkpoints, "on_train_epoch_end"),
    "writing": (torch, "save"),
    "renaming": (files, "_rename"),
    "linking": (files.os, "link"),
    "saved": (checkpoints, "save_rotating"),
}
AFTERWARDS = ("saved",)
"""Places where the kill strikes when the call is over."""


def fit(run_dir, *arguments, kill=None, signal_number=signal.SIGKILL, times=1, file_limit=None):
    """Runs fit in a fork of this process, whose imports it shares.

    Args:
        run_dir: The run's folder; None for a new one.
        *arguments: Further arguments.
        kill: A place and the number of the call, from 1, at which the process signals itself; None for not at all.
        signal_number: What it sends itself.
        times: How often.
        file_limit: Largest file that it may write, in bytes: writing beyond fails as on a full disk.

    Returns:
        The exit code; negative for a signal.
    """
    sys.stdout.flush()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 99
    try:
        torch.set_num_threads(1)
        if kill:
            strike(*kill, signal_number, times)
        if file_limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
        folder = ["--run_dir", str(run_dir)] if run_dir else []
        code = main(["fit", "--config", DRAWING, *folder, *map(str, arguments)])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def strike(place, number, signal_number, times):
    """Has the n-th call of a place's function signal this process first; a file being written is left half."""
    owner, name = PLACES[place]
    original, calls = getattr(owner, name), [0]

    def struck(*args, **kwargs):
        calls[0] += 1
        answer = original(*args, **kwargs) if place in AFTERWARDS else None
        if calls[0] == number:
            if place == "writing":
                args[1].write(b"PK\x03\x04 the beginning of a checkpoint")
                args[1].flush()
            for _ in range(times):
                os.kill(os.getpid(), signal_number)
        return answer if place in AFTERWARDS else original(*args, **kwargs)

    setattr(owner, name, struck)


def differences(run, other):
    """What is not equal in two finished runs: weights and all other training state, results, and learning curves."""
    found = []
    for name in ("last", "best"):
        one, two = (read_checkpoint(folder / "checkpoints" / f"{name}.ckpt") for folder in (run, other))
        parts = ["state_dict", "weights_beside", "optimizer_states", "lr_schedulers", "global_step", "epoch"]
        found += [f"{name}.ckpt: {part}" for part in parts if not equal(one.get(part), two.get(part))]
        for callback in ("RandomStates", "EpochAverages", "GradientNoise"):
            # A best checkpoint between two accumulated batches has weights only.
            states = [checkpoint.get("callbacks", {}).get(callback) for checkpoint in (one, two)]
            if not equal(*states):
                found.append(f"{name}.ckpt: {callback}")
    if values(run) != values(other):
        found.append("results")
    one, two = Counter(curves(run)), Counter(curves(other))
    found += [f"missing point {point}" for point in one - two] + [f"surplus point {point}" for point in two - one]
    kept, kept_too = (sorted(path.name for path in (folder / "checkpoints").iterdir()) for folder in (run, other))
    if kept != kept_too:
        found.append(f"files: {kept} {kept_too}")
    return found


def values(run):
    return {row.name: row.value for row in read_results(run / "results.json")}


def curves(run):
    """All points of training but its speed: name, step and value, written out, so that one NaN is the other."""
    series = journal.metrics(run / "journal.jsonl").items()
    points = [
        (name, step, repr(value)) for name, rows in series for step, value in zip(rows.step, rows.value, strict=True)
    ]
    return sorted(point for point in points if not point[0].startswith(("test/", "throughput/")))


def equal(one, two):
    """Whether nested containers of tensors and plain data are equal bit by bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(equal(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(equal, one, two))
    return one == two
