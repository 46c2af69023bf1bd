"""A figure beside the published one: a difference only where both were measured alike."""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from clip_lightning.reference.published import Published, published
from clip_lightning.results import Result


class Reference(NamedTuple):
    """What was published for the data set of a result.

    Args:
        figure: The published figure.
        difference: Ours less the published value, a fraction; None where the protocols differ.
        reason: Why there is no difference: "different protocol: ..."; empty where there is one.
    """

    figure: Published
    difference: float | None
    reason: str


def compare(row: Result, evaluator: str, model: str) -> Reference | None:
    """The published figure of a data set beside a result, or None where none was published.

    A figure of another metric is found too, where the table has a single one for the data set: that accuracy is no mean
    average precision is then said.

    Args:
        row: Result.
        evaluator: "zero_shot", "linear_probe" or "retrieval".
        model: Name of the published model, such as "ViT-B/32".
    """
    figures = [
        figure
        for figure in published()
        if (figure.evaluator, figure.model, figure.source) == (evaluator, model, row.source)
    ]
    same = [figure for figure in figures if figure.metric == row.metric]
    candidates = [(figure, _differences(row, figure)) for figure in same or figures]
    if not candidates or (not same and len(figures) > 1):
        return None
    figure, differences = min(candidates, key=lambda candidate: len(candidate[1]))
    if differences:
        return Reference(figure, None, f"different protocol: {'; '.join(differences)}")
    return Reference(figure, row.value - figure.value, "")


def digest(texts: Sequence[str | Sequence[str]]) -> str:
    """Twelve hexadecimal digits that are equal for equal class names or templates.

    Neither their order counts nor, as to CLIP's tokeniser, capitals and runs of spaces.

    Args:
        texts: Templates, or names; several names of one class belong together.
    """
    groups = [[text] if isinstance(text, str) else text for text in texts]
    lines = sorted("|".join(sorted(" ".join(text.lower().split()) for text in group)) for group in groups)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def _differences(row: Result, figure: Published) -> list[str]:
    """In what the measurements differ, in words."""
    metrics = (row.metric.replace("_", " "), figure.metric.replace("_", " "))
    pairs = {"metric": metrics, "n": (f"{row.n:,}", f"{figure.n:,}")}
    differences = [f"{key} {ours}, published {theirs}" for key, (ours, theirs) in pairs.items() if ours != theirs]
    return differences + [
        difference for key, theirs in figure.protocol.items() if (difference := _other(key, row.protocol, theirs))
    ]


def _other(key: str, protocol: dict[str, Any], theirs: str) -> str:
    """How a part of the protocol differs from the published one; empty if it does not."""
    name = key.replace("_", " ")
    if key not in protocol:
        return f"{name} not recorded"
    ours = protocol[key]
    if key in ("class_names", "templates"):
        return "" if digest(ours) == theirs else f"other {name}"
    return "" if str(ours).strip() == theirs else f"{name} {ours!r}, published {theirs!r}"
