# .venv/bin/python benchmarks/loss.py
"""Speed and memory of the losses against open_clip's: a forward and a backward pass on embeddings of 512 numbers.

Speed is open_clip's time over ours in alternated pairs: above 1 is faster. Printed is the median of the pairs' ratios,
with the order statistics that hold it in 95 % of cases. Memory is what a process of its own has at most during the two
passes beyond what it had before, gradients included. open_clip keeps several matrices of all pairs; where they would
not fit into what memory is free, it is left out.
"""

import argparse
import contextlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import open_clip.loss
import psutil
import torch
import torch.nn.functional as F
from models import compare

from clip_lightning.objectives import contrastive_loss, sigmoid_loss

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
OURS = {"contrastive": contrastive_loss, "sigmoid": sigmoid_loss}
THEIRS = {"contrastive": open_clip.loss.ClipLoss, "sigmoid": open_clip.loss.SigLipLoss}
FACTORS = {"contrastive": (14.3,), "sigmoid": (10.0, -10.0)}
WIDTH = 512
MATRICES = 6
"""Matrices of all pairs that open_clip is allowed for; at most as many were seen at once."""


def step(loss: str, whose: str, size: int, precision: str) -> Callable[[], float]:
    """A forward and backward pass, which returns the loss."""
    dtype = PRECISIONS[precision]
    generator = torch.Generator().manual_seed(0)
    rows = [
        F.normalize(torch.randn(size, WIDTH, generator=generator), dim=1).to(dtype).requires_grad_() for _ in range(2)
    ]
    inputs = [*rows, *(torch.tensor(factor, dtype=dtype, requires_grad=True) for factor in FACTORS[loss])]
    function = OURS[loss] if whose == "ours" else THEIRS[loss]()

    def run() -> float:
        for tensor in inputs:
            tensor.grad = None
        value = function(*inputs)
        value.backward()
        return float(value.detach())

    return run


def fits(size: int, precision: str) -> bool:
    """Whether open_clip's matrices fit into half of what memory is free, which others may need too."""
    return MATRICES * size**2 * PRECISIONS[precision].itemsize < psutil.virtual_memory().available / 2


def measure_memory(loss: str, whose: str, size: int, precision: str) -> None:
    """Prints the bytes of a process that does both passes, beyond those before them."""
    step(loss, whose, 64, precision)()  # What libraries take once is not the loss's.
    run = step(loss, whose, size, precision)
    Path("/proc/self/clear_refs").write_text("5")  # The kernel forgets the highest mark, which the inputs have left.
    before = psutil.Process().memory_info().rss
    run()
    marks = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(int(marks["VmHWM"].split()[0]) * 1024 - before)


def memory(*case: object) -> int:
    """What a process has printed."""
    command = [sys.executable, __file__, "--memory-of", *map(str, case)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def line(loss: str, size: int, precision: str, pairs: int) -> str:
    """Ratio of speed, and memory of both."""
    ours = memory(loss, "ours", size, precision) / 2**20
    if not fits(size, precision):
        return f"{'open_clip would not fit into memory':28} {ours:7,.0f} MiB"
    theirs = memory(loss, "theirs", size, precision) / 2**20
    speed = compare(step(loss, "ours", size, precision), step(loss, "theirs", size, precision), pairs)
    return f"{speed:28} {ours:7,.0f} MiB {theirs:9,.0f} MiB {ours / theirs:9.1%}"


def main() -> None:
    """Prints a line for each loss, precision and number of pairs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=[8192, 16384, 32768], help="pairs of a batch")
    parser.add_argument("--losses", nargs="+", choices=OURS, default=list(OURS))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--pairs", type=int, default=5, help="alternated pairs of measurements")
    parser.add_argument("--memory-of", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory_of:
        loss, whose, size, precision = options.memory_of
        measure_memory(loss, whose, int(size), precision)
        return
    print(f"{'loss':12} {'pairs':>6} {'':4} {'speed':28} {'ours':>11} {'open_clip':>13} {'ratio':>9}")
    for loss in options.losses:
        for precision in options.precisions:
            for size in options.sizes:
                print(f"{loss:12} {size:6} {precision} {line(loss, size, precision, options.pairs)}", flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
