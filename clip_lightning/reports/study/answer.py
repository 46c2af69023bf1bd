"""The answer in sentences: what a reader sees first."""

import itertools
from collections.abc import Sequence

from clip_lightning.ablation.comparison import Pair, Summary
from clip_lightning.ablation.outcome import Outcome
from clip_lightning.reports.study.wording import Unit, joined, shown_p, with_interval
from clip_lightning.results import counted


def answer(outcome: Outcome, ranked: Sequence[Summary], pairs: Sequence[Pair]) -> list[str]:
    """What the study says, and what it does not.

    Args:
        outcome: The study.
        ranked: Its variants by the deciding metric, the best first.
        pairs: All pairs of them that are compared.

    Returns:
        Paragraphs.
    """
    unit = Unit(outcome.plan.study.decides)
    measured = [one for one in ranked if one.values]
    if not measured:
        return ["Nothing is known yet: no run is finished."]
    return [text for text in (_best(measured, pairs, unit), _order(measured, pairs), _caveats(outcome)) if text]


def _best(ranked: Sequence[Summary], pairs: Sequence[Pair], unit: Unit) -> str:
    best = ranked[0]
    rivals = [pair for pair in pairs if pair.name == best.name]
    beaten = [pair.other for pair in rivals if pair.is_resolved]
    equals = [pair.other for pair in rivals if not pair.is_resolved]
    start = f"{best.name} has the {_extreme(ranked)} {unit.metric}: {with_interval(best, unit)}."
    if rivals and not equals:
        nearest = rivals[0]
        return (
            f"{start} It is told apart from every other variant; the nearest, {nearest.other}, is "
            f"{unit.value(abs(nearest.difference.mean))}{unit.points} away (p {shown_p(nearest.p)}, corrected for "
            f"{counted(len(pairs), 'comparison')})."
        )
    told = f" It is told apart from {joined(beaten)}." if beaten else ""
    return start + told + (f" It is not told apart from {joined(equals)}." if equals else "")


def _extreme(ranked: Sequence[Summary]) -> str:
    return "highest" if ranked[0].mean >= ranked[-1].mean else "lowest"


def _order(ranked: Sequence[Summary], pairs: Sequence[Pair]) -> str:
    """The variants in their order, with a sign between neighbours for whether they are told apart."""
    if len(ranked) < 3:
        return ""
    resolved = {(pair.name, pair.other) for pair in pairs if pair.is_resolved}
    text = ranked[0].name
    for before, after in itertools.pairwise(ranked):
        text += (" > " if (before.name, after.name) in resolved else " ~ ") + after.name
    count = sum(pair.is_resolved for pair in pairs)
    return (
        f"Order: {text}, where ~ is between neighbours that are not told apart. Of {counted(len(pairs), 'pair')}, "
        f"{count} {'is' if count == 1 else 'are'} told apart."
    )


def _caveats(outcome: Outcome) -> str:
    """What is missing for a final answer."""
    states = [one.state for one in outcome.runs]
    counts = {state: states.count(state) for state in ("failed", "running", "stopped", "missing")}
    texts = [f"{count} {state}" for state, count in counts.items() if count]
    said = f"{len(states) - states.count('finished')} of {len(states)} runs are not finished ({', '.join(texts)})."
    parts = [said] if texts else []
    if outcome.dropped:
        parts.append(f"{joined(list(outcome.dropped))} ended early as hopeless, and is ranked without an interval.")
    seeds = min((len(found) for found in outcome.values(outcome.plan.study.decides).values()), default=0)
    if 0 < seeds < 5 and not outcome.dropped:
        parts.append("With fewer than 5 seeds of each variant this is a first look, and no claim.")
    return " ".join(parts)
