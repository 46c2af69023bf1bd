"""``evaluate``: the figures of one or several models on labelled data, each image encoded once."""

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from tqdm import tqdm

from clip_lightning.cli.compose import compose, is_flag
from clip_lightning.cli.datasets import DATA_ROOT, KEY, at_data_root, list_datasets, refuse_absent, with_downloads
from clip_lightning.cli.errors import UserError
from clip_lightning.cli.evaluators import KEYS, build_evaluators, show_help
from clip_lightning.cli.trained import VerbParser, add_model_options, open_model, workers
from clip_lightning.config import Config, differing_keys, read_config, to_yaml
from clip_lightning.data import CenterCrop
from clip_lightning.evaluation import Evaluator
from clip_lightning.files import write_atomically
from clip_lightning.inference import FeatureCache, ImagePass, LiveContext
from clip_lightning.inference.feature_cache import image_tower_hash
from clip_lightning.results import Result, format_table, write_results
from clip_lightning.tracking.logger import MLflowTracker
from clip_lightning.tracking.provenance import add_start, describe_start
from clip_lightning.tracking.run_folder import RunFolder

DESCRIPTION = """Measures trained models: zero-shot classification, probes, retrieval, and whatever else evaluators do.

  python -m clip_lightning evaluate --checkpoint runs/NAME/TIME/checkpoints/best.ckpt \\
      --config configs/evaluate/quick.yaml

Features are kept in --cache, so nothing is encoded twice, and what was interrupted goes on. torchrun shares the images
among processes. Several checkpoints are compared with the first. configs/evaluate/datasets has the paper's data sets;
--list says which are here, and how to get the others."""


def main(arguments: Sequence[str]) -> int:
    """Measures the models, and writes what was found.

    Args:
        arguments: Command line after the verb.

    Returns:
        Exit code.

    Raises:
        UserError: If an option or the configuration is not accepted.
        ValueError: If a checkpoint cannot be loaded, or an evaluator cannot work on its data.
    """
    configured, others = _split(arguments)
    config, flags = compose(configured, KEYS)
    if flags:
        return show_help(flags)
    if "--list" in others:
        print(list_datasets(root=_listing_parser().parse(others).data_root))
        return 0
    options = _parser().parse(others)
    evaluators, resolved = build_evaluators(_with_data(config, options), options.allow_module)
    resolved = {"checkpoint": options.checkpoint, **resolved}
    if options.num_threads is not None:
        torch.set_num_threads(options.num_threads)
    with _processes() as rank:
        folder = _folder(options, resolved) if rank == 0 else None
        rows: list[Result] = []
        for checkpoint, label in zip(options.checkpoint, labels_of(options.checkpoint), strict=True):
            own = argparse.Namespace(**{**vars(options), "checkpoint": checkpoint})
            rows += [dataclasses.replace(row, model=label) for row in _measure(own, evaluators, rank)]
        if folder is not None:
            _conclude(folder, rows, options)
    return 0


def _with_data(config: Config, options: argparse.Namespace) -> Config:
    """The configuration with its data sets where they are, once all of them are there.

    Raises:
        UserError: If one is not, with how to get it.
    """
    config = at_data_root(config, options.data_root)
    refuse_absent(config, options.download)
    config = with_downloads(config) if options.download else config
    return {key: value for key, value in config.items() if key != KEY}


def labels_of(checkpoints: Sequence[str]) -> list[str]:
    """The shortest ends or beginnings of some paths that tell them apart; nothing where there is one."""
    if len(checkpoints) == 1:
        return [""]
    parts = [Path(path).parts for path in checkpoints]
    differing = [place for place in range(min(map(len, parts))) if len({path[place] for path in parts}) > 1]
    first = differing[0] if differing else min(map(len, parts))
    last = differing[-1] + 1 if differing and len({len(path) for path in parts}) == 1 else None
    return ["/".join(path[first:last]) or str(Path(*path)) for path in parts]


def _listing_parser() -> VerbParser:
    """What ``--list`` goes with; nothing else is needed for it."""
    parser = VerbParser("evaluate", DESCRIPTION)
    parser.add_argument("--list", action="store_true", help="say which data sets are here, and how to get the others")
    parser.add_argument(
        *("--data_root",), default=DATA_ROOT, help='folder that stands for "data/" in configurations (%(default)s)'
    )
    return parser


def _parser() -> VerbParser:
    parser = _listing_parser()
    parser.add_argument("--download", action="store_true", help="let torchvision fetch what it can of the data sets")
    several = "checkpoints of runs, or what else clip_lightning.load takes; several are compared with the first"
    add_model_options(parser, several, nargs="+")
    # These two are taken out before the others are read.
    parser.add_argument("--config", metavar="FILE", help="file of evaluators; several add theirs")
    parser.add_argument("--evaluators.NAME.KEY", metavar="VALUE", help="changes one; null takes it out")
    parser.add_argument("--output", type=Path, help="folder of the results; by default a new one, runs/NAME/TIME")
    parser.add_argument(
        *("--cache",), type=Path, default=Path("runs/features"), help="folder that keeps features (%(default)s)"
    )
    parser.add_argument("--batch_size", type=int, default=256, help="images encoded at once (%(default)s)")
    parser.add_argument("--num_workers", type=int, help="processes that decode images; by default the spare CPUs")
    parser.add_argument("--num_threads", type=int, help="threads of PyTorch on the CPU")
    parser.add_argument("--no_tracking", action="store_true", help="keep the figures out of MLflow")
    return parser


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments that are configuration, and the others."""
    configured: list[str] = []
    others: list[str] = []
    belongs = others
    for argument in arguments:
        if argument.startswith("--"):
            top = argument[2:].partition("=")[0].partition(".")[0]
            belongs = configured if top in KEYS or (is_flag(argument) and "." in argument) else others
        belongs.append(argument)
    return configured, others


@contextmanager
def _processes() -> Iterator[int]:
    """Joins the processes that a launcher has started, and leaves them again.

    Yields:
        The rank of this one; 0 where it is alone.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield 0
        return
    distributed.init_process_group("gloo")
    try:
        yield distributed.get_rank()
    finally:
        distributed.destroy_process_group()


def _folder(options: argparse.Namespace, resolved: Config) -> RunFolder:
    """Where the results go, with their configuration in it.

    Raises:
        UserError: If the folder holds those of another configuration.
    """
    given, name = options.output, str(resolved["name"])
    folder = RunFolder.create(name) if given is None else RunFolder.open(given)
    if folder.config.is_file() and (differing := differing_keys(read_config(folder.config), resolved)):
        raise UserError(
            f"{folder.path} holds results of another configuration: {', '.join(differing[:5])} differ; "
            "choose another --output"
        )
    write_atomically(folder.config, to_yaml(resolved).encode())
    add_start(folder.provenance, describe_start({"threads": torch.get_num_threads()}))
    return folder


def _measure(options: argparse.Namespace, evaluators: dict[str, Evaluator], rank: int) -> list[Result]:
    """All figures of one model, on the first process; on the others none."""
    pretrained = open_model(options)
    model = pretrained.model
    tell = _say if rank == 0 else lambda line: None
    tell(f"checkpoint {options.checkpoint}")
    cache = FeatureCache(options.cache, image_tower_hash(model), tell)
    rows = []
    for evaluator in evaluators.values():
        with _bar(rank) as progress:
            how = ImagePass(
                *(model, CenterCrop.of(model.pixels), options.batch_size, workers(options.num_workers)), progress
            )
            # A context for each: what is kept is read again in no time, and many data sets would fill the memory.
            collected = evaluator.collect(LiveContext(pretrained.scorer, how, cache))
        if rank == 0:
            rows += evaluator.compute(collected)
    return rows


def _conclude(folder: RunFolder, rows: list[Result], options: argparse.Namespace) -> None:
    """Writes the results, tracks them, and prints them."""
    write_results(folder.results, rows)
    if not options.no_tracking:
        _track(folder, rows)
    for label in dict.fromkeys(row.model for row in rows):
        print(f"\n{label}" if label else "")
        print(format_table([row for row in rows if row.model == label]))
    print(f"\n{folder.path}")


def _track(folder: RunFolder, rows: Sequence[Result]) -> None:
    """Delivers the figures to MLflow; a second time in the same folder they replace those of before."""
    tracker = MLflowTracker()
    tracker.attach(folder.path)
    if folder.journal.is_file():
        tracker.rewind(0, 0)
    tracker.log_hyperparams(read_config(folder.config))
    tracker.log_metrics({"/".join(filter(None, ("test", row.model, row.name))): row.value for row in rows}, 0)
    for path in (folder.config, folder.results):
        tracker.log_artifact(path)
    tracker.finalize("success")
    tracker.close()


@contextmanager
def _bar(rank: int) -> Iterator[Callable[[int], None]]:
    """A bar of images on a terminal, while there are any to encode."""
    bar: Any = None

    def progress(count: int) -> None:
        nonlocal bar
        if bar is None:
            bar = tqdm(unit=" images", disable=rank != 0 or not sys.stderr.isatty(), leave=False, dynamic_ncols=True)
        bar.update(count)

    yield progress
    if bar is not None:
        bar.close()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
