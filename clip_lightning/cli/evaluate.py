"""``evaluate``: the figures of one or several models on labelled data, each image encoded once."""

import argparse
import difflib
import os
import sys
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import distributed

from clip_lightning.cli.compose import compose, is_flag
from clip_lightning.cli.datasets import DATA_ROOT, KEY, at_data_root, list_datasets, refuse_absent, with_downloads
from clip_lightning.cli.errors import UserError
from clip_lightning.cli.evaluation_folder import EvaluationFolder, print_results
from clip_lightning.cli.evaluators import KEYS, build_evaluators, check_left_out, show_help
from clip_lightning.cli.measuring import measure
from clip_lightning.cli.served import served_by
from clip_lightning.cli.trained import VerbParser, add_model_options, device_of, open_model, workers
from clip_lightning.config import Config
from clip_lightning.evaluation import Evaluator
from clip_lightning.evaluation.comparison import compare
from clip_lightning.reference import published_models
from clip_lightning.reports.evaluation import Evaluated

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
    options = _parser().parse(others)
    if options.list:
        print(list_datasets(root=options.data_root))
        return 0
    check_left_out(configured)
    _check_options(options)
    device = device_of(options.device)
    evaluators, resolved = build_evaluators(_with_data(config, options), options.allow_module)
    resolved = {"checkpoint": options.checkpoint, **resolved}
    if options.num_threads is not None:
        torch.set_num_threads(options.num_threads)
    with _processes() as rank:
        # All of them, on the CPU: a mistake in the last is told before the first is measured.
        each = [argparse.Namespace(**{**vars(options), "checkpoint": one}) for one in options.checkpoint]
        loaded = deque(open_model(own, "cpu") for own in each)
        served = served_by([pretrained.scorer for pretrained in loaded], evaluators)
        folder = EvaluationFolder.open(options.output, resolved) if rank == 0 else None
        models = []
        for own, label, (possible, left_out) in zip(each, labels_of(options.checkpoint), served, strict=True):
            pretrained = loaded.popleft()  # What was measured is forgotten.
            pretrained.model.to(device)
            models.append(measure(own, pretrained, possible, label, rank))
            for line in left_out if rank == 0 else []:
                print(f"{own.checkpoint} {line}", file=sys.stderr)
        if folder is not None:
            _conclude(folder, models, evaluators, options)
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
    return [str(Path(*(path[first:last] or path))) for path in parts]


def _parser() -> VerbParser:
    parser = VerbParser("evaluate", DESCRIPTION)
    parser.add_argument(
        *("--list",), action="store_true",
        help="say which data sets are here, and how to get the others; nothing else is done",
    )  # fmt: skip
    parser.add_argument(
        *("--data_root",), default=DATA_ROOT, help='folder that stands for "data/" in configurations (%(default)s)'
    )
    parser.add_argument("--download", action="store_true", help="let torchvision fetch what it can of the data sets")
    several = "checkpoints of runs, or what else clip_lightning.load takes; several are compared with the first"
    add_model_options(parser, several, is_required=False, nargs="+")
    # These two are taken out before the others are read.
    parser.add_argument("--config", metavar="FILE", help="file of evaluators; several add theirs")
    parser.add_argument("--evaluators.NAME.KEY", metavar="VALUE", help="changes one; null takes it out")
    parser.add_argument("--output", type=Path, help="folder of the results; by default a new one, runs/NAME/TIME")
    parser.add_argument(
        *("--cache",), type=Path, default=Path("runs/features"), help="folder that keeps features (%(default)s)"
    )
    parser.add_argument("--batch_size", type=int, default=256, help="images encoded at once (%(default)s)")
    parser.add_argument("--num_workers", type=int, help="processes that decode images; by default the spare CPUs")
    parser.add_argument("--num_threads", type=int, help="threads on the CPU, of encoders and of probes")
    parser.add_argument(
        *("--published_as",), metavar="MODEL",
        help="the paper's model that the page sets the figures beside, such as ViT-B/32; OpenAI's archives are known",
    )  # fmt: skip
    parser.add_argument("--no_tracking", action="store_true", help="keep the figures out of MLflow")
    return parser


def _check_published(name: str | None) -> None:
    """Refuses the name of a model of which nothing was published."""
    names = {known.lower(): known for known in published_models()}
    if name is None or name in names.values():
        return
    near = difflib.get_close_matches(name.lower(), names, n=1)
    there = f"did you mean {names[near[0]]!r}?" if near else f"there are: {', '.join(names.values())}"
    raise UserError(f"--published_as {name!r}: no figures of such a model are known; {there}")


def _check_options(options: argparse.Namespace) -> None:
    """Refuses what could not be measured or told apart."""
    if options.checkpoint is None:
        raise UserError("--checkpoint is missing: name a run's checkpoint, or what else clip_lightning.load takes")
    _check_published(options.published_as)
    if options.batch_size < 1:
        raise UserError(f"--batch_size {options.batch_size} must be 1 at least")
    workers(options.num_workers)
    twice = [path for path, count in Counter(options.checkpoint).items() if count > 1]
    if twice:
        raise UserError(f"--checkpoint names {twice[0]!r} several times; once is enough")


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


def _conclude(
    folder: EvaluationFolder,
    measured: Sequence[Evaluated],
    evaluators: Mapping[str, Evaluator],
    options: argparse.Namespace,
) -> None:
    """Compares the models with the first, writes what was found, tracks it, and prints it."""
    # Before anything that could fail is done with them.
    folder.write(measured)
    first, *others = measured
    models = [first, *(replace(other, comparisons=compare(other.rows, first.rows)) for other in others)]
    folder.write(models)
    page = folder.write_page(models)
    if not options.no_tracking:
        folder.track(models, page)
    print_results(models, {evaluator.reports[0] for evaluator in evaluators.values()})
    print(f"\n{page[0]}\n{folder.folder.path}")
