"""A configuration becomes evaluators, for ``evaluate``."""

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import jsonargparse
from torchvision.datasets import VisionDataset

from clip_lightning.cli.compose import compose
from clip_lightning.cli.errors import UserError, telling_place
from clip_lightning.cli.keys import check_names, nearest
from clip_lightning.cli.parsing import refusals
from clip_lightning.cli.trust import check_parts, refuse_what_is_no_part
from clip_lightning.config import Config, read_text
from clip_lightning.data.torchvision_labels import open_vision_dataset
from clip_lightning.evaluation import Evaluator

KEYS = ("config", "name", "evaluators")
"""Top-level keys; ``--config`` is one on the command line only."""

_INSTANTIATORS = [(open_vision_dataset, VisionDataset, True)]


def build_evaluators(config: Config, allow_modules: Collection[str] = ()) -> tuple[dict[str, Evaluator], Config]:
    """Builds what a configuration names.

    Args:
        config: Composed configuration.
        allow_modules: Modules of installed packages that may be named though they hold no parts.

    Returns:
        The evaluators by their names in the configuration, and the configuration with all defaults, as plain data.

    Raises:
        UserError: If there are none, or one is not accepted, with the nearest name where one is misspelt.
        ValueError: If the configuration names what is no part.
    """
    check_names(config, [key for key in KEYS if key != "config"], "")
    given = config.get("evaluators") or {}
    if not isinstance(given, Mapping):
        raise UserError(f"evaluators is a {type(given).__name__}; it is a mapping of names to evaluators")
    given = {name: one for name, one in given.items() if one is not None}
    if not given:
        raise UserError("there are no evaluators; name a file of them, as in --config configs/evaluate/quick.yaml")
    check_parts({"evaluators": given}, allow_modules)
    others = {key: value for key, value in config.items() if key != "evaluators"}
    parser = _parser()
    with refusals():
        resolved = _resolved(parser, parser.parse_object(others))
    built = {name: _build(parser, f"evaluator {name!r}{_of_class(one)}", {name: one}) for name, one in given.items()}
    resolved["evaluators"] = {name: own["evaluators"][name] for name, (_, own) in built.items()}
    evaluators = {name: evaluator for name, (evaluator, _) in built.items()}
    _check_prefixes(evaluators)
    return evaluators, resolved


def name_mistaken(config: Config) -> None:
    """Finds which of the evaluators of a run is refused, if one is: of the whole, the parser does not tell it.

    Args:
        config: The run's, which was refused.

    Raises:
        UserError: With the place of the evaluator and its class.
    """
    parser = _parser()
    for stage, listed in (config.get("evaluation") or {}).items():
        for number, one in enumerate(listed if isinstance(listed, list) else [], 1):
            _build(parser, f"evaluation.{stage}, evaluator {number}{_of_class(one)}", {"evaluator": one})


def _build(parser: jsonargparse.ArgumentParser, place: str, given: Config) -> tuple[Evaluator, Config]:
    """A single evaluator, and its configuration with all defaults."""
    with telling_place(place), refusals():
        parsed = parser.parse_object({"evaluators": given})
        (evaluator,) = parser.instantiate(parsed, instantiators=_INSTANTIATORS).evaluators.values()
        return evaluator, _resolved(parser, parsed)


def _resolved(parser: jsonargparse.ArgumentParser, parsed: jsonargparse.Namespace) -> Config:
    resolved: Config = read_text(parser.dump(parsed, skip_unset=False))
    return resolved


def _of_class(one: Any) -> str:
    """The class of an evaluator in its configuration, in brackets."""
    class_path = one.get("class_path") if isinstance(one, Mapping) else one
    return f" ({str(class_path).rpartition('.')[2]})" if class_path else ""


def check_left_out(arguments: Sequence[str]) -> None:
    """Refuses to leave out an evaluator that no file names.

    Args:
        arguments: The configuration's part of the command line.

    Raises:
        UserError: With the nearest name.
    """
    config, _ = compose(arguments, KEYS)
    files, _ = compose([one for pair in _config_files(arguments) for one in pair], KEYS)
    there, left = files.get("evaluators"), config.get("evaluators")
    if isinstance(there, Mapping) and isinstance(left, Mapping):
        for name, one in left.items():
            if one is None and name not in there:
                raise UserError(f"evaluator {name} is not known; {nearest(name, list(there))}")


def _config_files(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each ``--config FILE``."""
    for argument, value in itertools.zip_longest(arguments, arguments[1:], fillvalue=""):
        if argument == "--config":
            yield argument, value
        elif argument.startswith("--config="):
            yield "--config", argument.partition("=")[2]


def show_help(flags: Sequence[str]) -> int:
    """Prints what ``--evaluators.help CLASS`` asks for.

    Returns:
        Exit code.
    """
    with refusals():
        try:
            _parser().parse_args(list(flags))
        except SystemExit as done:
            return int(done.code or 0)
    return 0


def _parser() -> jsonargparse.ArgumentParser:
    refuse_what_is_no_part()
    parser = jsonargparse.ArgumentParser("clip_lightning evaluate", exit_on_error=False)
    parser.add_argument("--name", type=str, default="evaluate", help="Name of the evaluation.")
    parser.add_argument("--evaluators", type=dict[str, Evaluator], help="What is measured, by name.")
    return parser


def _check_prefixes(evaluators: Mapping[str, Evaluator]) -> None:
    """Refuses two evaluators that would report under one name."""
    first: dict[str, str] = {}
    for name, evaluator in evaluators.items():
        other = first.setdefault(evaluator.prefix, name)
        if other != name:
            raise UserError(
                f"evaluators {other!r} and {name!r} both report {evaluator.prefix!r}; give one of them another name, "
                f"as in --evaluators.{name}.name other"
            )
