"""Writes the features of many images."""

import argparse
import functools
import os
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from clip_lightning.cli.errors import UserError
from clip_lightning.cli.trained import (
    BATCH_SIZE,
    VerbParser,
    add_image_options,
    add_model_options,
    open_model,
    quick_gelu_of,
    unreadable_lines,
    workers,
)
from clip_lightning.inference.embed import Done, Setting, check_batch_size, embed, embed_in_processes
from clip_lightning.inference.feature_folder import Description, FeatureFolder, weights_hash
from clip_lightning.inference.images import FoundImages, find_images
from clip_lightning.interchange import Pretrained, load
from clip_lightning.models import CLIP

_LOG_SECONDS = 10.0

_WHAT = """Writes the features of images in parts. part-00000.safetensors has the tensor image_features, a row an image
in float32, projected and not of unit length; part-00000.parquet a line an image: index, row in the tensor, path, key
within the folder or shard, and for an image that could not be read the reason. Stopped, the same command goes on.

  python -m clip_lightning embed --checkpoint runs/NAME/TIME/checkpoints/best.ckpt --images photos --output features
  python -m clip_lightning search --index features --query "a red apple"
"""


def main(arguments: Sequence[str]) -> int:
    """Embeds.

    Args:
        arguments: Command line after the verb.

    Returns:
        Exit code; images that cannot be read are told of, and change nothing of it.

    Raises:
        UserError: If an option is not accepted.
        KeyboardInterrupt: If it is interrupted, with what is there by then.
    """
    options = _parser().parse(arguments)
    if options.num_processes < 1:
        raise UserError(f"--num_processes {options.num_processes} must be 1 at least")
    num_workers = workers(options.num_workers, options.num_processes)
    source, pretrained, folder = begin(options)
    with folder.alone():
        unreadable = _embed(pretrained, source, folder, options, num_workers)
    for line in unreadable_lines(sorted(unreadable.items()), f"the column missing in {folder.path}/part-*.parquet"):
        print(line, file=sys.stderr)
    conclude(source, folder)
    return 0


def _parser() -> VerbParser:
    parser = features_parser("embed", _WHAT)
    parser.add_argument("--num_processes", type=int, default=1, help="processes that encode (%(default)s)")
    return parser


def features_parser(verb: str, description: str) -> VerbParser:
    """Options of a verb that writes features; the size of a batch depends on that of a part."""
    parser = VerbParser(verb, description)
    add_model_options(parser, "the model: a checkpoint of a run, or what else clip_lightning.load takes")
    add_image_options(parser)
    parser.set_defaults(batch_size=None)
    parser.add_argument("--output", required=True, help="folder for the features, a new one or one to go on with")
    parser.add_argument("--part_size", type=int, default=4096, help="images in a part (%(default)s)")
    return parser


def begin(options: argparse.Namespace) -> tuple[FoundImages, Pretrained, FeatureFolder]:
    """The images, the model, and the folder that its features of them go to; and the size of a batch is settled.

    Raises:
        ValueError: If one cannot be had, or the folder holds other features.
    """
    options.batch_size = batch_size_of(options)
    source = find_images(options.images)
    pretrained = open_model(options)
    return source, pretrained, FeatureFolder.create(Path(options.output), _describe(pretrained, source, options))


def conclude(source: FoundImages, folder: FeatureFolder) -> None:
    """Tells what was left out, and what a complete folder has."""
    if source.left_out:
        print(f"left out: {source.left_out}", file=sys.stderr)
    print(_summary(folder))
    print(folder.path)


def batch_size_of(options: argparse.Namespace) -> int:
    """Images encoded at once: what is given, or as many of the usual number as divide a part.

    Raises:
        ValueError: If what is given does not divide a part.
    """
    if options.batch_size is None:
        most = max(min(BATCH_SIZE, options.part_size), 1)
        options.batch_size = next(size for size in range(most, 0, -1) if options.part_size % size == 0)
    check_batch_size(options.batch_size, options.part_size)
    size: int = options.batch_size
    return size


def _describe(pretrained: Pretrained, source: FoundImages, options: argparse.Namespace) -> Description:
    """What the folder is to hold."""
    checkpoint = os.path.abspath(options.checkpoint) if os.path.exists(options.checkpoint) else options.checkpoint
    return Description(
        checkpoint=checkpoint,
        weights=weights_hash(pretrained.model),
        embed_dim=pretrained.model.embed_dim,
        images=[os.path.abspath(place) for place in options.images],
        fingerprint=source.fingerprint,
        count=len(source),
        part_size=options.part_size,
        quick_gelu=quick_gelu_of(options),
    )


def _embed(
    pretrained: Pretrained, source: FoundImages, folder: FeatureFolder, options: argparse.Namespace, num_workers: int
) -> dict[str, str]:
    """Makes the parts that are not there; returns the images that could not be read, with the reasons."""
    parts = folder.unfinished()
    total = sum(len(folder.description.indices(part)) for part in parts)
    if len(parts) < len(folder.description.parts):
        print(
            f"{len(folder.description.parts) - len(parts)} of {len(folder.description.parts)} parts are there already"
        )
    device = str(pretrained.model.logit_scale.device)
    setting = Setting(options.batch_size, num_workers, device)
    if options.num_processes == 1:
        made = embed(pretrained.model, source, folder, parts, setting)
    else:
        # Each has its share of the CPUs; by itself each would take all of them.
        threads = max(torch.get_num_threads() // options.num_processes, 1)
        setting = setting._replace(
            num_threads=threads, device=device if ":" in options.device else device.split(":")[0]
        )
        load_model = functools.partial(
            _load_model, options.checkpoint, options.allow_module, quick_gelu_of(options), options.weights
        )
        made = embed_in_processes(load_model, source, folder, parts, setting, options.num_processes)
    unreadable: dict[str, str] = {}
    try:
        for done in _shown(made, total):
            unreadable |= done.missing
    except KeyboardInterrupt:
        there = len(folder.description.parts) - len(folder.unfinished())
        raise KeyboardInterrupt(
            f"interrupted; {there} of {len(folder.description.parts)} parts are there, and the same command goes on"
        ) from None
    return unreadable


def _load_model(checkpoint: str, allow_modules: Collection[str], quick_gelu: bool | None, weights: Any) -> CLIP:
    return load(checkpoint, allow_modules=allow_modules, quick_gelu=quick_gelu, weights=weights).model


def _shown(made: Iterator[Done], total: int) -> Iterator[Done]:
    """Passes on what is done, with a bar on a terminal and a line now and then in a log."""
    is_terminal = sys.stderr.isatty()
    bar: Any = tqdm(total=total, unit="image", disable=not is_terminal, dynamic_ncols=True)
    began = last = time.monotonic()
    seen = missing = 0
    with bar:
        for done in made:
            seen += done.images + len(done.missing)
            missing += len(done.missing)
            bar.update(done.images + len(done.missing))
            if missing:
                bar.set_postfix_str(f"{missing:,} unreadable", refresh=False)
            now = time.monotonic()
            if not is_terminal and now - last >= _LOG_SECONDS:
                last = now
                print(
                    f"{seen:,} of {total:,} images, {seen / (now - began):.0f} per second, {missing:,} unreadable",
                    file=sys.stderr,
                    flush=True,
                )
            yield done


def _summary(folder: FeatureFolder) -> str:
    """How many features a complete folder has, and how many images have none."""
    found = sum(folder.rows_of_parts())
    description = folder.description
    parts = "1 part" if len(description.parts) == 1 else f"{len(description.parts):,} parts"
    return (
        f"{found:,} features of {description.embed_dim} channels in {parts}, "
        f"{description.count - found:,} images unreadable"
    )
