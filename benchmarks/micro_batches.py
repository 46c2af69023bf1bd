# .venv/bin/python benchmarks/micro_batches.py
"""Memory and time of a training step at growing batches, encoded at once and in parts.

Each row is a process of its own: a ViT-B/32's towers at 64 pixels, forward, loss, backward and AdamW. Memory is what
the process has at most during its second step beyond what it had before the first, less gradients and the optimiser's
moments, which do not depend on the batch; in parts, the sums of gradients are one copy more. What is freed goes back to
the system at once, by a setting of glibc: else glibc keeps some for later, and more in a longer step. The time is that
of the second step, over that of as many pairs encoded at once at the smallest batch: recomputing a forward pass makes
4/3 of a step.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import torch

from clip_lightning.batch import Batch
from clip_lightning.models import CLIP, TextTransformer, VisionTransformer
from clip_lightning.objectives import Contrastive, encode_in_micro_batches

SIZES = (32, 128, 512, 2048)
MICRO = 32
TOKENS = 24


def model() -> CLIP:
    """The paper's base towers, on small pictures."""
    image = VisionTransformer(image_size=64, patch_size=32, width=768, depth=12, num_heads=12, quick_gelu=True)
    text = TextTransformer(context_length=77, vocab_size=49408, width=512, depth=12, num_heads=8, quick_gelu=True)
    return CLIP(image, text, embed_dim=512).train()


def random_batch(size: int) -> Batch:
    """Pairs without meaning."""
    text = torch.randint(1000, 40000, (size, TOKENS))
    rows = torch.arange(size)
    return Batch(
        image=torch.randint(0, 256, (size, 3, 64, 64), dtype=torch.uint8),
        text=text,
        length=torch.full((size,), TOKENS),
        key=torch.stack([rows] * 3, dim=1),
        image_id=rows,
        text_id=rows,
    )


def measure(size: int, micro: int | None) -> None:
    """Prints bytes and seconds of one step."""
    torch.manual_seed(0)
    towers, objective, batch = model(), Contrastive(), random_batch(size)
    optimizer = torch.optim.AdamW(towers.parameters(), lr=1e-5, fused=True)

    def step(batch: Batch) -> None:
        optimizer.zero_grad(set_to_none=False)
        encoded = encode_in_micro_batches(objective, towers, batch, micro)
        objective.reduce(towers, encoded)["loss"].backward()
        optimizer.step()

    step(random_batch(2))  # Gradients and moments are there from now on.
    before = psutil.Process().memory_info().rss
    Path("/proc/self/clear_refs").write_text("5")
    started = time.process_time()
    step(batch)
    seconds = time.process_time() - started
    marks = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(int(marks["VmHWM"].split()[0]) * 1024 - before, seconds)


def row(size: int, micro: int | None) -> tuple[float, float]:
    """What a process of its own has printed."""
    command = [sys.executable, __file__, "--measure", str(size), str(micro or 0)]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"}
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    memory, seconds = output.split()
    return int(memory) / 2**20, float(seconds)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--whole-up-to", type=int, default=512, help="largest batch that is encoded at once")
    parser.add_argument("--measure", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.measure:
        size, micro = options.measure
        measure(size, micro or None)
        return
    print(f"{'batch':>6}  {'at once':>20}  {f'{MICRO} at a time':>20}  pixels and embeddings")
    unit = None
    for size in options.sizes:
        cells = []
        for micro in (None, MICRO):
            if micro is None and size > options.whole_up_to:
                cells.append("not measured")
                continue
            memory, seconds = row(size, micro)
            unit = unit or seconds / size
            cells.append(f"{memory:,.0f} MiB, {seconds / size / unit:.2f} x")
        batch = random_batch(size)
        own = (batch.image.nbytes + 8 * 512 * size) / 2**20
        print(f"{size:>6}  {cells[0]:>20}  {cells[1]:>20}  {own:,.0f} MiB", flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
