"""What the verbs that use a trained model share: their options, the model, and the images."""

import argparse
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch

from clip_lightning.averages import KINDS
from clip_lightning.cli.devices import own_cpus
from clip_lightning.cli.errors import UserError
from clip_lightning.inference.images import printable
from clip_lightning.interchange import Pretrained, load
from clip_lightning.text import Tokenizer

BATCH_SIZE = 64
"""Images encoded at once where nobody says how many."""

_MOST_WORKERS = 16
_SHOWN = 20


class VerbParser(argparse.ArgumentParser):
    """Options of a verb; a mistake in them is one message, with the nearest option where there is none of a name.

    Args:
        verb: The verb.
        description: What it does.
    """

    def __init__(self, verb: str, description: str) -> None:
        self._known: list[str] = []
        super().__init__(
            f"clip_lightning {verb}",
            description=description,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def add_argument(self, *names: Any, **settings: Any) -> argparse.Action:
        """Adds an option, and remembers its name."""
        self._known += names
        return super().add_argument(*names, **settings)

    def error(self, message: str) -> NoReturn:
        """Tells of a mistake."""
        raise UserError(f"{message}; {self.prog} --help names the options")

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The options.

        Raises:
            UserError: If one is not known, misses its value, or is missing.
        """
        # Before the parser, which would say of a mistyped option only that the right one is missing.
        for argument in arguments:
            name = argument.partition("=")[0]
            if argument.startswith("--") and name not in self._known:
                near = difflib.get_close_matches(name, self._known, n=1)
                there = f"did you mean {near[0]}?" if near else f"there are: {', '.join(self._known[2:])}"
                raise UserError(f"option {name} is not known; {there}")
        return self.parse_args(arguments)


def add_checkpoint_options(
    parser: argparse.ArgumentParser, checkpoint_help: str, is_required: bool = True, nargs: str | None = None
) -> None:
    """The options that say where a model is, or several models are, and what they may name."""
    parser.add_argument("--checkpoint", required=is_required, nargs=nargs, metavar="CHECKPOINT", help=checkpoint_help)
    parser.add_argument(
        *("--allow_module",), action="append", default=[], metavar="NAME",
        help="a module of yours whose classes the checkpoint may name, such as examples.mixer",
    )  # fmt: skip
    parser.add_argument(
        *("--weights",), choices=KINDS, help="of a run that averaged them; by default those that chose the checkpoint"
    )


def add_activation_option(parser: argparse.ArgumentParser) -> None:
    """The option that ``quick_gelu_of`` reads."""
    parser.add_argument("--quick_gelu", choices=("true", "false"), help="for weights that do not say their activation")


def add_model_options(
    parser: argparse.ArgumentParser, checkpoint_help: str, is_required: bool = True, nargs: str | None = None
) -> None:
    """The options that say which model is used, or which models are, and where."""
    add_checkpoint_options(parser, checkpoint_help, is_required, nargs)
    add_activation_option(parser)
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ...; by default cuda where there is one")


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """The options that say which images are read, and how."""
    parser.add_argument(
        *("--images",), required=True, nargs="+", metavar="PATH",
        help="folders, image files or shards (.tar), also as quoted patterns such as 'train-{000..099}.tar'",
    )  # fmt: skip
    parser.add_argument(
        *("--batch_size",), type=int, default=BATCH_SIZE,
        help=f"images encoded at once; by default {BATCH_SIZE}, or less where parts of features are smaller",
    )  # fmt: skip
    parser.add_argument("--num_workers", type=int, help="processes that decode images; by default the spare CPUs")


def open_model(options: argparse.Namespace, device: str | None = None) -> Pretrained:
    """The model that the options name, on its device.

    Args:
        options: Those of ``add_model_options``.
        device: Another device than that of the options.

    Raises:
        UserError: If there is no such device.
        ValueError: If the checkpoint cannot be loaded.
    """
    device = device or device_of(options.device)
    pretrained = load(
        options.checkpoint,
        allow_modules=options.allow_module,
        quick_gelu=quick_gelu_of(options),
        weights=options.weights,
    )
    pretrained.model.to(device)
    return pretrained


def quick_gelu_of(options: argparse.Namespace) -> bool | None:
    """What the options say of the weights' activation; None if nothing."""
    return None if options.quick_gelu is None else options.quick_gelu == "true"


def device_of(name: str) -> str:
    """A device that is there.

    Raises:
        UserError: If it is not.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError):
        raise UserError(f"--device {name!r} is not to be had; leave the option out, or give cpu") from None
    return name


def workers(given: int | None, num_processes: int = 1) -> int:
    """How many processes decode for each that encodes: what is given, or the CPUs that are left over.

    Raises:
        UserError: If the number is negative.
    """
    if given is None:
        # None are left over where there are as many processes as CPUs, or more.
        return max(min(own_cpus(num_processes) - 1, _MOST_WORKERS), 0)
    if given < 0:
        raise UserError(f"--num_workers {given} must be 0 at least")
    return given


def check_file(option: str, path: Path | None, suffixes: Sequence[str]) -> None:
    """Refuses a file that could not be written, before anything is done for it.

    Raises:
        UserError: If its suffix is another, a folder has its name, or its folder does not exist.
    """
    if path is None:
        return
    if path.suffix.lower() not in suffixes:
        raise UserError(f"{option} {str(path)!r} must end in {' or '.join(suffixes)}")
    if path.is_dir():
        raise UserError(f"{option} {str(path)!r} is a folder; name a file")
    if not path.parent.is_dir():
        raise UserError(f"{option} {str(path)!r}: folder {str(path.parent)!r} does not exist; make it first")


def cut_line(kind: str, count: int, tokenizer: Tokenizer) -> str:
    """A line that tells of texts whose end the model does not see.

    Args:
        kind: What the texts are, in the singular.
        count: How many they are.
        tokenizer: What has cut them.
    """
    texts = f"1 {kind} loses" if count == 1 else f"{count:,} {kind}s lose"
    return f"too long: {texts} what is beyond {tokenizer.context_length} tokens, which the model does not see"


def unreadable_lines(missing: Sequence[tuple[str, str]], elsewhere: str) -> list[str]:
    """Lines that tell of images which could not be read.

    Args:
        missing: Place and reason of each.
        elsewhere: Where all of them are named if there are too many to be shown; empty if nowhere.
    """
    shown = missing if not elsewhere else missing[:_SHOWN]
    lines = [f"unreadable: {printable(place)}: {reason}" for place, reason in shown]
    if len(missing) > len(shown):
        lines.append(f"unreadable: {len(missing) - len(shown):,} more, which {elsewhere} names")
    return lines
