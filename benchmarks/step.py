# .venv/bin/python benchmarks/step.py
"""A training step of ViT-B/32 against that of open_clip_train, on the CPU, with the same weights, pairs and schedule.

Captions have the lengths of COCO's. Ours is the step of ``fit``: Lightning's loop with the task, logging and schedule,
from batches as the loader makes them, of uint8 pixels that the model normalises, and of texts cut to the longest.
Theirs are the lines of open_clip_train/train.py and main.py (3.3.0) from batches as its loader makes them, of
normalised pixels and texts of 77 tokens: autocast, ``ClipLoss``, backward, AdamW over its two groups, and the clamp of
the temperature; its logging is left out. One differs: open_clip decays position embeddings too.

Both train in turns, step by step in one process on one thread, so that speed and loss curves are of the same steps.
Printed are each step's losses and times; then the median of open_clip's time over ours, with the order statistics that
hold it in 95 % of cases (above 1 is faster), and the largest difference of a step's losses relative to open_clip's.
"""

import argparse
import contextlib
import functools
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from captions import CAPTION_TOKENS, texts
from lightning.pytorch import Callback, Trainer
from models import both
from open_clip import ClipLoss, get_input_dtype
from open_clip_train.precision import get_autocast
from open_clip_train.scheduler import cosine_lr
from pairs import median, seconds
from torch import Tensor, nn
from torch.utils.data import DataLoader

from clip_lightning.batch import Batch
from clip_lightning.cli.training import DEFAULTS, quiet
from clip_lightning.data.collate import cut
from clip_lightning.models import CLIP
from clip_lightning.optim import WarmupCosine
from clip_lightning.task import CLIPTask
from clip_lightning.text import CLIPTokenizer

PRECISIONS = {"fp32": ("32-true", "fp32"), "bf16": ("bf16-mixed", "amp_bf16")}
"""What each precision is called by Lightning and by open_clip_train."""
OPTIMIZER = {"lr": 5e-4, "betas": (0.9, 0.98), "eps": 1e-6}
WEIGHT_DECAY = 0.2
WARMUP = 100
BATCHES = 4
"""Different batches, which come round again: so the loss falls, and two curves have something to differ in."""
UNTIMED = 2


def pairs_of(size: int, number: int) -> tuple[Tensor, Tensor]:
    """Pixels and texts of a batch, the lengths taken from COCO's one after another."""
    generator = torch.Generator().manual_seed(number)
    image = torch.randint(0, 256, (size, 3, 224, 224), dtype=torch.uint8, generator=generator)
    lengths = tuple(CAPTION_TOKENS[(7 * number + 3 * row) % len(CAPTION_TOKENS)] for row in range(size))
    text, _ = texts(lengths)
    return image, (text + number * (text > 0) * (text < 49000)).contiguous()


def our_batch(image: Tensor, text: Tensor, tokenizer: CLIPTokenizer) -> Batch:
    """As our loader makes it."""
    short, length = cut(text, tokenizer.eos_id)
    rows = torch.arange(len(image))
    return Batch(
        image=image, text=short, length=length, key=torch.stack([rows] * 3, dim=1), image_id=rows, text_id=rows
    )


def their_step(model: nn.Module, precision: str, total: int) -> Callable[[int, Tensor, Tensor], Tensor]:
    """The lines that open_clip_train runs for a batch; they return the loss."""

    def is_excluded(name: str, parameter: nn.Parameter) -> bool:
        return parameter.ndim < 2 or any(part in name for part in ("bn", "ln", "bias", "logit_scale"))

    named = list(model.named_parameters())
    groups = [
        {"params": [value for name, value in named if is_excluded(name, value)], "weight_decay": 0.0},
        {"params": [value for name, value in named if not is_excluded(name, value)], "weight_decay": WEIGHT_DECAY},
    ]
    optimizer = torch.optim.AdamW(groups, **OPTIMIZER)
    scheduler = cosine_lr(optimizer, OPTIMIZER["lr"], WARMUP, total)
    autocast, dtype = get_autocast(precision, device_type="cpu"), get_input_dtype(precision)
    loss = ClipLoss()
    model.output_dict = True

    def step(number: int, images: Tensor, tokens: Tensor) -> Tensor:
        scheduler(number)
        images = images.to(device="cpu", dtype=dtype, non_blocking=True)
        optimizer.zero_grad()
        with autocast():
            losses = loss(**model(images, tokens), output_dict=True)
            total_loss = sum(losses.values())
        total_loss.backward()
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        return total_loss

    return step


class Turns(Callback):
    """After each of our steps, one of theirs."""

    def __init__(self, step: Callable[[int], Tensor]) -> None:
        self.step = step
        self.ours: list[float] = []
        self.theirs: list[float] = []
        self.losses: list[tuple[float, float]] = []
        self._started = 0.0

    def on_train_start(self, *_: Any) -> None:
        """Begins the time of our first step."""
        self._started = time.process_time()

    def on_train_batch_end(self, trainer: Trainer, task: CLIPTask, outputs: Any, batch: Batch, number: int) -> None:
        """Ends the time of our step, and takes that of theirs."""
        self.ours.append(time.process_time() - self._started)
        found: list[Tensor] = []
        self.theirs.append(seconds(lambda: found.append(self.step(number))))
        self.losses.append((float(outputs["loss"]), float(found[0].detach())))
        said = "loss {:.5f} and {:.5f}, {:.2f} s and {:.2f} s".format(*self.losses[-1], self.ours[-1], self.theirs[-1])
        print(f"  step {number + 1:2}: {said} (ours, open_clip)", flush=True)
        self._started = time.process_time()


def task_of(model: CLIP) -> CLIPTask:
    """The task with a model's weights."""
    optimizer = functools.partial(torch.optim.AdamW, **OPTIMIZER, weight_decay=WEIGHT_DECAY)
    assert model.text_encoder is not None
    tokenizer, schedule = CLIPTokenizer(context_length=77), WarmupCosine(WARMUP)
    task = CLIPTask(
        model.image_encoder,
        model.text_encoder,
        tokenizer,
        embed_dim=model.embed_dim,
        optimizer=optimizer,
        schedule=schedule,
    )
    task.model.load_state_dict(model.state_dict())
    return task


def _same(batch: Batch) -> Batch:
    return batch


def measure(precision: str, batch: int, steps: int) -> None:
    """Prints the steps of a precision, and what they come to."""
    ours, theirs = both("vit_b_32")
    task = task_of(ours)
    lightning, open_clip = PRECISIONS[precision]
    raw = [pairs_of(batch, number) for number in range(BATCHES)]
    batches = [our_batch(*one, task.tokenizer) for one in raw]
    normalised = [(task.model.normalize(image), text) for image, text in raw]
    step = their_step(theirs, open_clip, steps)
    turns = Turns(lambda number: step(number, *normalised[number % BATCHES]))
    settings: dict[str, Any] = {**DEFAULTS["trainer"], "logger": False, "limit_val_batches": 0}
    trainer = Trainer(
        **settings,
        accelerator="cpu",
        precision=lightning,
        max_steps=steps,
        enable_checkpointing=False,
        callbacks=[turns],
    )  # type: ignore[arg-type]
    loader: Any = DataLoader([batches[number % BATCHES] for number in range(steps)], batch_size=None, collate_fn=_same)
    trainer.fit(task, loader)
    ratios = [one / other for one, other in zip(turns.theirs, turns.ours, strict=True)][UNTIMED:]
    apart = max(abs(one - other) / other for one, other in turns.losses)
    mine, peers = (statistics.median(times[UNTIMED:]) for times in (turns.ours, turns.theirs))
    print(
        f"{precision:9} {mine:7.2f} s {peers:9.2f} s  "
        f"{median(ratios):22} {apart:8.1e}   {turns.losses[0][1]:.3f} to {turns.losses[-1][1]:.3f}",
        flush=True,
    )


def main() -> None:
    """Prints a line for each precision."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20, help="training steps of each")
    options = parser.parse_args()
    torch.set_num_threads(1)
    quiet()
    print(f"{'precision':9} {'ours':>9} {'open_clip':>11}  {'ratio':22} {'apart':8}   open_clip's loss")
    for precision in options.precisions:
        measure(precision, options.batch, options.steps)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
