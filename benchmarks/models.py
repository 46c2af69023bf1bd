# .venv/bin/python benchmarks/models.py
"""Speed and memory of the paper's models against open_clip's, with the same weights, images and texts.

Speed is open_clip's CPU time over ours, of one thread, in alternated pairs: above 1 is faster. Printed is the median of
the pairs' ratios, with the order statistics that hold it in 95 % of cases. Texts fill the context in both, but in the
last column, where they have the lengths of COCO's captions: our batches are cut to their longest text, open_clip's
always have 77 tokens. Memory is what the tensors of a step take at most beyond the weights, gradients included; PyTorch
counts it to the byte, and it is the same each time.
"""

import argparse
import contextlib
import itertools
import json
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

import open_clip
import torch
from captions import CAPTION_TOKENS, texts
from pairs import compare
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

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


def peak_bytes(model: nn.Module, size: int) -> int:
    """What the tensors of a forward and backward pass take at most, beyond those that were there before."""
    step = steps(model.train(), torch.rand(BATCH, 3, size, size), texts((77,) * BATCH)[0])[1]
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, "trace.json")
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_bytes())["traceEvents"]
    changes = sorted((event for event in events if event["name"] == "[memory]"), key=lambda event: event["ts"])
    return max(itertools.accumulate(event["args"]["Bytes"] for event in changes))


def measure_memory(name: str) -> None:
    """Prints a line."""
    ours = getattr(presets, name)()
    size = ours.pixels.size
    # One after the other, so that there is room for the largest.
    mine = peak_bytes(ours, size)
    del ours
    theirs = peak_bytes(open_clips(name), size)
    sizes = f"{mine / 1e6:,.1f} MB, open_clip {theirs / 1e6:,.1f} MB, ratio {mine / theirs:.3f}"
    print(f"{name:13} memory of a step in fp32: {sizes}", flush=True)


def main() -> None:
    """Prints a line for each model and precision, and one for the memory of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("presets", nargs="*", default=list(NAMES), help=f"of {list(NAMES)}; by default all")
    parser.add_argument("--precisions", nargs="*", choices=PRECISIONS, default=list(PRECISIONS), help="for speed")
    parser.add_argument("--pairs", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'model':13} {'':6} {'forward':22} {'forward + backward':22} text tower, COCO lengths")
    for name in options.presets:
        for precision in options.precisions:
            measure_speed(name, precision, options.pairs)
        measure_memory(name)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
