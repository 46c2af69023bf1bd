"""Which evaluators each model serves, known before anything is encoded."""

from collections.abc import Callable, Iterable, Mapping

from clip_lightning.cli.errors import UserError
from clip_lightning.evaluation import Evaluator
from clip_lightning.interchange import Pretrained
from clip_lightning.objectives import Scorer

_TEXT = "a"


def served_by(models: Iterable[Pretrained], evaluators: Mapping[str, Evaluator]) -> list[dict[str, Evaluator]]:
    """The evaluators that each model can be measured by; an image encoder alone is measured by probes.

    Args:
        models: One at least. Each may be forgotten when the next one is taken.
        evaluators: By their names in the configuration.

    Raises:
        UserError: If none of the models serves an evaluator.
        ValueError: If one cannot be loaded.
    """
    unserved = [_unserved(model.scorer, evaluators) for model in models]
    for name in evaluators:
        if all(name in own for own in unserved):
            raise UserError(
                f"evaluator {name!r} cannot be measured: {unserved[0][name]}; --evaluators.{name} null leaves it out"
            )
    return [{name: one for name, one in evaluators.items() if name not in own} for own in unserved]


def _unserved(scorer: Scorer, evaluators: Mapping[str, Evaluator]) -> dict[str, str]:
    """The evaluators that a model does not serve, each with the reason."""
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
    lacking = {name: sorted(one.needs & reasons.keys()) for name, one in evaluators.items()}
    return {name: reasons[needs[0]] for name, needs in lacking.items() if needs}
