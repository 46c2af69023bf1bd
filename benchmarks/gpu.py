# python benchmarks/gpu.py
"""All figures of a GPU in one command of at most eight minutes: ViT-B/32 at a global batch of 32,768 in bf16.

It needs torch, Lightning's dependencies, timm, tokenizers and jaxtyping; where open_clip is absent, or time or memory
do not suffice, it says what was left out, and goes on. What is measured, each a section that can be asked for alone:

- step: pairs a second at growing micro-batches, as blocks are and compiled. MFU counts three forward passes of the
  texts as they are cut, and nothing that is done twice; utilisation of the hardware counts that too. Both are given of
  the data sheet's peak where it is known, and of the fastest product of matrices seen in this run.
- open_clip: the step of open_clip_train (3.3.0) on as many pairs with texts of 77 tokens, by its ways to such a batch:
  gradient checkpointing of the whole, and accumulation; the first one also compiled.
- loss: the loss by itself at several tile sizes, with and without TF32; the share of the step is printed by ``step``.
- tile: the first pass over a tile, plain, compiled, and with bf16 operands.
- dropout: the largest difference of gradients between recomputing and keeping activations, with dropout; it must be 0.
- resnet: RN50 with its weights and features in rows and in channels-last order.
- transfer: a batch from pageable and from page-locked memory, and how long the processor waits for it.

``--device cpu --small`` runs every section at sizes without meaning, to see that they run.
"""

import argparse
import contextlib
import time
from collections.abc import Callable
from typing import Any

import gpu_pieces
import gpu_steps
import torch
from gpu_setting import Setting, say

SECTIONS: dict[str, Callable[[Setting], None]] = {
    "dropout": gpu_pieces.measure_dropout,
    "step": gpu_steps.measure_step,
    "open_clip": gpu_steps.measure_open_clip,
    "loss": gpu_pieces.measure_loss,
    "tile": gpu_pieces.measure_tile,
    "resnet": gpu_pieces.measure_resnet,
    "transfer": gpu_pieces.measure_transfer,
}


def main() -> None:
    """Runs the sections, as long as there is time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", default=list(SECTIONS), help=f"of {list(SECTIONS)}; by default all")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="sizes without meaning, to see that everything runs")
    parser.add_argument("--seconds", type=float, default=450, help="no section begins after so many")
    options = parser.parse_args()
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"sections {sorted(unknown)} are none of {list(SECTIONS)}")
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("there is no GPU here; --device cpu --small shows that everything runs")
    sizes: tuple[Any, ...] = (32768, (1024, 2048, 4096, 8192), (1024, 2048, 4096, 8192), 512, 3)
    if options.small:
        sizes = (24, (8, 16), (8, 16), 2, 1)
    setting = Setting(torch.device(options.device), options.small, *sizes)
    started = time.monotonic()
    say(f"torch {torch.__version__}, {options.device}, {sizes[0]} pairs")
    for name in options.sections:
        if time.monotonic() - started > options.seconds:
            say(f"{name}: not measured, since the time is up")
            continue
        try:
            SECTIONS[name](setting)
        except ImportError as error:
            say(f"{name}: not measured from here on, since {error.name} is not installed")
        except torch.OutOfMemoryError:
            say(f"{name}: not measured from here on, since the memory of the device does not suffice")
        if setting.is_cuda:
            torch.cuda.empty_cache()
    say(f"done after {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
