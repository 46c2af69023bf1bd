"""What is said of a training before it begins."""

import sys
from itertools import chain, islice
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

from clip_lightning.cli.training import TrainingCLI
from clip_lightning.tracking.run_folder import RunFolder

_CAPTIONS = 10_000
"""Captions whose length is looked at before a run, which takes a part of a second."""


@rank_zero_only
def announce(cli: TrainingCLI, folder: RunFolder, checkpoint: Path | None) -> None:
    """Says what is trained, on what, and where it goes."""
    model, data = cli.model.model, cli.datamodule
    trained = model.image_encoder, model.text_encoder or cli.model.objective
    sizes = " + ".join(f"{type(part).__name__} {_count(part):,}" for part in trained)
    print(f"model       {sizes}, {_count(cli.model):,} parameters in all")
    print(f"data        {sum(map(len, data.train)):,} pairs, {describe_batch(cli)}")
    captions = list(islice(chain.from_iterable(source.captions() for source in data.train), _CAPTIONS))
    if cut := sum(map(cli.model.tokenizer.cuts, captions)):
        length = cli.model.tokenizer.context_length
        print(f"text        {cut:,} of the first {len(captions):,} captions lose what is beyond {length} tokens")
    if (decay := cli.part("averaging").decay) is not None:
        monitor, kind = cli.config.checkpoints.monitor, cli.part("checkpoints").kind
        print(f"averaging   decay {decay}; the {kind} weights are used and reported, of which {monitor} is")
    print(f"run folder  {folder.path}")
    if checkpoint:
        print(f"continuing  {checkpoint}")
    for logger in cli.trackers:
        if logger.uri:
            where = logger.uri if logger.uri.startswith("http") else f"mlflow ui --backend-store-uri {logger.uri}"
            print(f"tracking    {where}")
    sys.stdout.flush()


def describe_batch(cli: TrainingCLI) -> str:
    """How many pairs a step compares, and how it comes by them."""
    size, parts, micro = cli.datamodule.batch_size, cli.trainer.accumulate_grad_batches, cli.model.micro_batch_size
    if parts > 1:
        return (
            f"{parts} batches of {size:,} in a step, each compared within itself (one batch of {parts * size:,} in the "
            f"same memory: --data.batch_size {parts * size} --model.micro_batch_size {micro or size} "
            "--trainer.accumulate_grad_batches 1)"
        )
    return f"{size:,} in a step" + (f", encoded {micro:,} at a time" if micro else "")


def _count(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
