"""What evaluators find of a model, and what the model is."""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from tqdm import tqdm

from clip_lightning.cli.errors import telling_place
from clip_lightning.cli.trained import workers
from clip_lightning.data import CenterCrop
from clip_lightning.evaluation import Evaluator
from clip_lightning.evaluation.paper_averages import averages_of
from clip_lightning.inference import FeatureCache, ImagePass, LiveContext
from clip_lightning.inference.feature_cache import image_tower_hash
from clip_lightning.interchange import Pretrained
from clip_lightning.interchange.openai import ARCHIVE
from clip_lightning.models.paper_names import paper_name
from clip_lightning.reports.evaluation import Evaluated
from clip_lightning.reports.evaluation.wording import reasons_text
from clip_lightning.results import Result, counted


def measure(
    options: argparse.Namespace, pretrained: Pretrained, evaluators: Mapping[str, Evaluator], label: str, rank: int
) -> Evaluated:
    """All figures of one model. Collective: every process takes part, and the first one gets them.

    Args:
        options: Those of ``evaluate``, of one checkpoint.
        pretrained: The model.
        evaluators: What is measured.
        label: What tells the model from others; empty where it is alone.
        rank: Of this process.

    Raises:
        ValueError: If an evaluator cannot work on its data.
    """
    model = pretrained.model
    tell = _say if rank == 0 else lambda line: None
    tell(f"checkpoint {options.checkpoint}")
    tower = image_tower_hash(model)
    cache = FeatureCache(options.cache, tower, tell)
    rows: list[Result] = []
    unreadable: dict[str, tuple[str, Mapping[int, str]]] = {}
    for name, evaluator in evaluators.items():
        with _bar(rank) as progress:
            how = ImagePass(
                *(model, CenterCrop.of(model.pixels), options.batch_size, workers(options.num_workers)), progress
            )
            # A context for each: what is kept is read again in no time, and many data sets would fill the memory.
            context = LiveContext(pretrained.scorer, how, cache)
            with telling_place(f"evaluator {name!r}"):
                collected = evaluator.collect(context)
        for fingerprint, (source, missing) in context.unreadable.items():
            if missing and fingerprint not in unreadable:
                reasons = reasons_text(Counter(missing.values()))
                tell(f"{counted(len(missing), 'image')} of {source} cannot be read: {reasons}")
            unreadable[fingerprint] = source, missing
        if rank == 0:
            with telling_place(f"evaluator {name!r}"):
                rows += [replace(row, model=label) for row in evaluator.compute(collected)]
    return Evaluated(
        name=label or options.checkpoint,
        rows=[*rows, *averages_of(rows)],
        facts=_facts(pretrained, tower),
        published_as=options.published_as or _recognised(pretrained),
        unreadable=_by_source(unreadable.values()),
    )


def _by_source(missing: Iterable[tuple[str, Mapping[int, str]]]) -> dict[str, Counter[str]]:
    """Numbers of images by reason, of all parts of a data set together."""
    found: dict[str, Counter[str]] = {}
    for source, reasons in missing:
        if reasons:
            found.setdefault(source, Counter()).update(reasons.values())
    return found


def _facts(pretrained: Pretrained, tower: str) -> dict[str, str]:
    """What describes the model, to be read."""
    card = pretrained.card
    seen, parameters = card.get("samples_seen"), sum(one.numel() for one in pretrained.model.parameters())
    config = card["config"] or {}
    return {
        "checkpoint": f"{card['path']} ({card['format']})",
        "image tower": f"sha256 {tower[:16]}",
        "parameters": f"{parameters:,}",
        "trained by": str(config.get("name") or "not recorded"),
        "samples seen": "not recorded" if seen is None else f"{seen:,} image-text pairs",
    }


def _recognised(pretrained: Pretrained) -> str | None:
    """The published model that weights released by OpenAI are of."""
    return paper_name(pretrained.model) if pretrained.card["format"] == ARCHIVE else None


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
