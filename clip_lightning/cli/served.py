"""Which evaluators each model serves, known before anything is encoded."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from clip_lightning.cli.errors import UserError
from clip_lightning.evaluation import Evaluator
from clip_lightning.objectives import Scorer

_TEXT = "a"


class Served(NamedTuple):
    """What a model can be measured by.

    Args:
        evaluators: By their names in the configuration; some without a part of their own.
        left_out: Lines for the user, on what is not measured of the model, or only in part.
    """

    evaluators: dict[str, Evaluator]
    left_out: list[str]


def served_by(scorers: Sequence[Scorer], evaluators: Mapping[str, Evaluator]) -> list[Served]:
    """What each model can be measured by; an image encoder alone is measured by probes.

    Args:
        scorers: Of the models, one at least.
        evaluators: By their names in the configuration.

    Raises:
        UserError: If none of the models serves an evaluator.
    """
    lacking = [_lacking(scorer) for scorer in scorers]
    for name, one in evaluators.items():
        if all(one.without(reasons) is None for reasons in lacking):
            reason = _reason(one, lacking[0])
            raise UserError(f"evaluator {name!r} cannot be measured: {reason}; --evaluators.{name} null leaves it out")
    return [_served(evaluators, reasons) for reasons in lacking]


def _served(evaluators: Mapping[str, Evaluator], lacking: Mapping[str, str]) -> Served:
    possible = {name: one.without(lacking) for name, one in evaluators.items()}
    absent = [name for name, one in possible.items() if one is None]
    partial = [name for name, one in possible.items() if one not in (None, evaluators[name])]
    lines = [f"not measured: {', '.join(absent)}"] if absent else []
    lines += [f"measured without zero-shot classification: {', '.join(partial)}"] if partial else []
    return Served({name: one for name, one in possible.items() if one is not None}, lines)


def _reason(evaluator: Evaluator, lacking: Mapping[str, str]) -> str:
    return lacking[min(evaluator.needs & lacking.keys())]


def _lacking(scorer: Scorer) -> dict[str, str]:
    """The methods of ``Context`` that a model does not serve, each with the reason."""
    asked: dict[str, Callable[[], object]] = {
        "class_scores": lambda: scorer.classes([[_TEXT]]),
        "text_embeds": lambda: scorer.text_embeds([_TEXT]),
    }
    reasons = {}
    for need, ask in asked.items():
        try:
            ask()
        except ValueError as error:
            reasons[need] = str(error)
    return reasons
