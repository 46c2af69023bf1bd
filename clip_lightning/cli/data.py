"""``data``: shows what a model will really see of its data."""

import argparse
import textwrap
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from clip_lightning.batch import Batch
from clip_lightning.cli.compose import compose
from clip_lightning.cli.errors import UserError
from clip_lightning.cli.keys import KEYS, check_keys
from clip_lightning.cli.training import DEFAULTS, TrainingCLI, build_cli, show_help
from clip_lightning.data import PairLoader, Source, content_id
from clip_lightning.text import Tokenizer

_WHAT = """Writes a picture of the first samples of the first epoch exactly as the training loader makes them: cropped,
augmented and resized images, and captions as the tokeniser returns them. Takes the keys of fit; makes no run folder."""


def main(arguments: Sequence[str]) -> int:
    """Shows data.

    Args:
        arguments: Command line after the verb.

    Returns:
        Exit code.

    Raises:
        UserError: If the options or the configuration are not accepted.
    """
    parser = argparse.ArgumentParser("clip_lightning data", description=__doc__, allow_abbrev=False)
    verbs = parser.add_subparsers(dest="what", required=True)
    usage = "%(prog)s --config FILE ... [--key value ...] [--output FILE.png] [--samples N]"
    showing = verbs.add_parser("show", help="a sheet of samples", usage=usage, description=_WHAT, allow_abbrev=False)
    showing.add_argument("--output", type=Path, help="picture to write (NAME-data.png, by the configuration's name)")
    showing.add_argument("--samples", type=int, default=24, help="how many samples to show (%(default)s)")
    options, rest = parser.parse_known_args(arguments)
    config, flags = compose(rest, KEYS, DEFAULTS)
    if flags:
        return show_help("data show", config, flags)
    check_keys(config)
    output = options.output or Path(f"{config.get('name') or 'run'}-data.png")
    _check(output, options.samples)
    # Neither tracked nor limited: nothing is trained.
    trainer = {**config["trainer"], "logger": False}
    show(build_cli("data show", {**config, "trainer": trainer, "run_dir": None}), output, options.samples)
    return 0


def _check(output: Path, samples: int) -> None:
    """Refuses before anything is built what could not be written."""
    if samples < 1:
        raise UserError(f"--samples {samples} must be 1 at least")
    if output.suffix.lower() != ".png":
        raise UserError(f"--output {str(output)!r} must end in .png")
    if not output.parent.is_dir():
        raise UserError(f"--output {str(output)!r}: folder {str(output.parent)!r} does not exist; make it first")


def show(cli: TrainingCLI, output: Path, count: int) -> None:
    """Writes the sheet and prints the facts that stand on it.

    Args:
        cli: What was built from the configuration.
        output: Picture to write or replace.
        count: How many samples to show; fewer if an epoch has fewer.
    """
    # matplotlib takes a second to import: a mistake in the configuration is told of without it.
    from clip_lightning.reports.figures import save
    from clip_lightning.reports.sheet import Sample, sheet

    data, task = cli.datamodule, cli.model
    # Workers would read ahead what is not shown; they change no sample.
    data.num_workers = 0
    loader = data.train_loader(task)
    batches = list(islice(loader, -(-count // data.batch_size)))
    samples = []
    for image, text, stored in islice(_rows(batches, data.train), count):
        caption, is_cut = seen_text(task.tokenizer, text, stored)
        samples.append(Sample(image.permute(1, 2, 0).numpy(), caption, is_cut))
    facts = [*_sources(data.train), *_settings(cli, loader), *_texts(task.tokenizer, batches, samples)]
    facts += [("damaged", f"{number} x {reason}") for reason, number in sorted(loader.damaged.items())]
    wrapped = [(name if first else "", line) for name, value in facts for first, line in _wrapped(value)]
    save(sheet(samples, f"What the model sees: the first {len(samples)} samples of {cli.config.name}", wrapped), output)
    print("\n".join(f"{name:<12}{value}" for name, value in facts))
    print(output)


def _wrapped(value: str) -> Iterator[tuple[bool, str]]:
    """The lines of a long value, the first marked."""
    for number, line in enumerate(textwrap.wrap(value, 118)):
        yield number == 0, line


def _rows(batches: Sequence[Batch], sources: Sequence[Source]) -> Iterator[tuple[Any, list[int], str]]:
    """Image, token ids and stored caption of each sample."""
    for batch in batches:
        columns = (column.tolist() for column in (batch.text, batch.length, batch.key, batch.text_id))
        for image, text, length, (source, _, index), text_id in zip(batch.image, *columns, strict=True):
            captions = sources[source].read(index).captions
            stored = next(one for one in captions if content_id(one.encode("utf-8", "surrogatepass")) == text_id)
            yield image, text[:length], stored


def seen_text(tokenizer: Tokenizer, ids: Sequence[int], stored: str) -> tuple[str, bool]:
    """What a model gets to read of a caption.

    Args:
        tokenizer: The model's.
        ids: Token ids with start and end.
        stored: The caption as it is stored.

    Returns:
        The text of the ids, or the stored caption where the tokeniser cannot tell; and whether some of it is cut.
    """
    decoded = tokenizer.decode(ids[1:-1])
    return stored if decoded is None else decoded, tokenizer.cuts(stored)


def _sources(sources: Sequence[Source]) -> list[tuple[str, str]]:
    """Of each source its name, samples and blocks."""
    facts = []
    for source in sources:
        sizes = source.block_sizes
        blocks = "1 block" if len(sizes) == 1 else f"{len(sizes):,} blocks of {min(sizes):,} to {max(sizes):,}"
        facts.append(("source", f"{source.name}: {len(source):,} samples in {blocks}"))
    return facts


def _settings(cli: TrainingCLI, loader: PairLoader) -> list[tuple[str, str]]:
    """How the samples are taken and made."""
    data, pixels = cli.datamodule, cli.model.model.pixels
    weights = f", weights {', '.join(f'{weight:g}' for weight in data.weights)}" if data.weights else ""
    low, high = data.crop_scale
    share = f"{low:g} to {high:g}" if low < high else f"{low:g}"
    names = [" ".join(str(augmentation).split()) for augmentation in data.augmentations]
    made = f"from random squares of {share} times the shorter side, {pixels.interpolation}"
    return [
        ("epoch", f"{len(loader):,} batches of {data.batch_size:,}{weights}"),
        ("image", f"{pixels.size} x {pixels.size} pixels, {made}"),
        *(("augmented", name) for name in names),
    ]


def _texts(tokenizer: Tokenizer, batches: Sequence[Batch], samples: Sequence[Any]) -> list[tuple[str, str]]:
    """How long the captions are, and how many of those shown are cut."""
    lengths = sorted(chain.from_iterable(batch.length.tolist() for batch in batches))
    cut = sum(sample.is_cut for sample in samples)
    length = f"{lengths[0]} to {lengths[-1]} of {tokenizer.context_length} tokens"
    return [("text", f"{length}, {type(tokenizer).__name__}; {cut} of the {len(samples)} captions shown are cut")]
