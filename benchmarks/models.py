# .venv/bin/python benchmarks/models.py
"""Speed and memory of the paper's models against open_clip's, with the same weights, images and texts.

Speed is open_clip's CPU time over ours, of one thread, in alternated pairs: above 1 is faster. Printed is the median of
the pairs' ratios, with the order statistics that hold it in 95 % of cases. Texts fill the context in both, but in the
last column, where they have the lengths of COCO's captions: our batches are cut to their longest text, open_clip's
always have 77 tokens. Memory is what a process of its own has at most during a step beyond what it had before: the
median of some processes.
"""

import argparse
import contextlib
import logging
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import open_clip
import psutil
import torch
from captions import CAPTION_TOKENS, texts
from pairs import compare
from torch import Tensor, nn

from clip_lightning.interchange.keys import OPENAI, OPENAI_RESNET
from clip_lightning.models import CLIP, presets

NAMES = {
    "rn50": "RN50",
    "rn101": "RN101",
    "rn50x4": "RN50x4",
    "rn50x16": "RN50x16",
    "rn50x64": "RN50x64",
    "vit_b_32": "ViT-B-32",
    "vit_b_16": "ViT-B-16",
    "vit_l_14": "ViT-L-14",
    "vit_l_14_336": "ViT-L-14-336",
}
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
BATCH = 2


def open_clips(name: str) -> nn.Module:
    """open_clip's model with random weights, of which it need not warn."""
    logging.getLogger().setLevel(logging.ERROR)
    return open_clip.create_model(f"{NAMES[name]}-quickgelu")


def both(name: str) -> tuple[CLIP, nn.Module]:
    """Our model and open_clip's with the same random weights, in training mode."""
    torch.manual_seed(0)
    ours, theirs = getattr(presets, name)(), open_clips(name)
    layout = OPENAI if name.startswith("vit") else OPENAI_RESNET
    theirs.load_state_dict(layout.to_theirs(ours.state_dict()))
    return ours.train(), theirs.train()


def steps(model: nn.Module, image: Tensor, text: Tensor) -> tuple[Callable[[], object], Callable[[], object]]:
    """A forward pass, and a forward and backward pass."""

    def forward() -> Tensor:
        return model.encode_image(image).float().sum() + model.encode_text(text).float().sum()

    def backward() -> None:
        model.zero_grad(set_to_none=True)
        forward().backward()

    return torch.no_grad()(forward), backward


def measure_speed(name: str, precision: str, pairs: int) -> None:
    """Prints a line."""
    models = [model.to(PRECISIONS[precision]) for model in both(name)]
    size = models[0].pixels.size
    image = torch.rand(BATCH, 3, size, size, dtype=PRECISIONS[precision])
    text, _ = texts((77,) * BATCH)
    (forward, backward), (their_forward, their_backward) = (steps(model, image, text) for model in models)
    only = compare(forward, their_forward, pairs)
    both_ways = compare(backward, their_backward, pairs)
    short, length = texts(CAPTION_TOKENS)
    cut = short[:, : -(-int(length.max()) // 8) * 8]
    with torch.no_grad():
        captions = compare(lambda: models[0].encode_text(cut, length), lambda: models[1].encode_text(short), pairs)
    print(f"{name:13} {precision}   {only:22} {both_ways:22} {captions}", flush=True)


def measure_memory(name: str, whose: str) -> None:
    """Prints the bytes of a process that does one step with one of the models, beyond those before the step."""
    model = getattr(presets, name)() if whose == "ours" else open_clips(name)
    with torch.device("meta"):
        size = getattr(presets, name)().pixels.size
    step = steps(model.train(), torch.rand(BATCH, 3, size, size), texts((77,) * BATCH)[0])[1]
    # The kernel forgets the highest mark, which building the model has left.
    Path("/proc/self/clear_refs").write_text("5")
    before = psutil.Process().memory_info().rss
    step()
    marks = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(int(marks["VmHWM"].split()[0]) * 1024 - before)


def compare_memory(name: str, processes: int) -> None:
    """Prints a line."""
    taken = [[memory(name, whose) for whose in ("ours", "theirs")] for _ in range(processes)]
    ours, theirs = (statistics.median(column) / 1e6 for column in zip(*taken, strict=True))
    ratios = [one / other for one, other in taken]
    print(
        f"{name:13} memory of a step in fp32: {ours:,.0f} MB, open_clip {theirs:,.0f} MB, ours over theirs in pairs of "
        f"processes {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})",
        flush=True,
    )


def memory(name: str, whose: str) -> int:
    """What a process of its own has printed."""
    command = [sys.executable, __file__, name, "--memory-of", whose]
    # Tensors go back to the system when they are freed; what the C library keeps for later varies by a tenth.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    return int(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


def main() -> None:
    """Prints a line for each model and precision, and one for the memory of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("presets", nargs="*", default=list(NAMES), help=f"of {list(NAMES)}; by default all")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--processes", type=int, default=5, help="for memory; 0 leaves it out")
    parser.add_argument("--memory-of", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory_of:
        measure_memory(options.presets[0], options.memory_of)
        return
    print(f"{'model':13} {'':6} {'forward':22} {'forward + backward':22} text tower, COCO lengths")
    for name in options.presets:
        for precision in options.precisions:
            measure_speed(name, precision, options.pairs)
        if options.processes:
            compare_memory(name, options.processes)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
