"""How names and figures are written in a report."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from clip_lightning.reference.published import titles
from clip_lightning.results import Result, printed, printed_interval, printed_number

FAMILIES = {
    "zero_shot": "Zero-shot classification",
    "linear_probe": "Linear probes",
    "few_shot": "Few-shot probes",
    "retrieval": "Retrieval",
    "prompts": "What prompts gain",
    "template_sensitivity": "Sensitivity to templates",
    "calibration": "Calibration",
    "selective": "Selective prediction",
    "out_of_distribution": "Images of none of the classes",
}
"""Families of figures by the name of their evaluator, in the order of a report; all others follow."""

_MOST_REASONS = 3
_MINUS = "\N{MINUS SIGN}"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def family_title(evaluator: str) -> str:
    """An evaluator in words, as the begin of a sentence."""
    return FAMILIES.get(evaluator, evaluator.replace("_", " ").capitalize())


def title_of(source: str) -> str:
    """A data set as the paper writes it, or by its own name."""
    return titles().get(source, source)


def data_set(row: Result) -> str:
    """What a result is of, by its name ``[<stage>/]<evaluator>/<dataset>/<metric>``; that may be two sets together."""
    return title_of(row.name.split("/")[-2])


def metric_title(metric: str) -> str:
    """A metric in words."""
    words = metric.replace("_", " ").replace("11 point", "(11 points)").replace("brier", "Brier")
    words = re.sub(r"\bat (\d+)$", r"@\1", re.sub(r"\btop (\d)", r"top-\1", words))
    return re.sub(r"\b(auc|aurc|auroc|ece|nll|roc)\b", lambda match: match[0].upper(), words)


def told_apart(rows: Sequence[Result]) -> list[str]:
    """Data sets of results, and by what their metrics differ where a data set has several."""
    names = []
    for row in rows:
        shortest = min((other.metric for other in rows if data_set(other) == data_set(row)), key=len)
        names.append(f"{data_set(row)} {metric_title(row.metric.removeprefix(shortest)).strip()}".rstrip())
    return names


def reasons_text(counts: Mapping[str, int]) -> str:
    """Why images cannot be read, the most frequent reasons first, each with the number of its images."""
    ordered = Counter(counts).most_common()
    shown = [f"{reason} ({count:,})" for reason, count in ordered[:_MOST_REASONS]]
    others = sum(count for _, count in ordered[_MOST_REASONS:])
    return ", ".join([*shown, *([f"other reasons ({others:,})"] if others else [])]) or "—"


def superscript(number: int) -> str:
    """A whole number as the sign of a note, or as an exponent."""
    return str(number).translate(_SUPERSCRIPTS)


def with_minus(text: str) -> str:
    """Numbers with the sign that belongs to them."""
    return text.replace("-", _MINUS)


def shown(value: float, unit: str = "") -> str:
    """A value in a table, with the sign that belongs to numbers."""
    return with_minus(printed(value, unit))


def with_unit(value: float, unit: str) -> str:
    """A value in running text."""
    return shown(value, unit) if unit else f"{shown(value)} %"


def shown_interval(row: Result) -> str:
    """The 95 % interval of a result; with a dash, unless there is a sign that it could be taken for."""
    if row.interval is None:
        return "—"
    text = with_minus(printed_interval(row))
    return text if _MINUS in text else text.replace(" to ", "\N{EN DASH}")


def signed(value: float, unit: str = "") -> str:
    """A difference with its sign; a fraction's in percentage points."""
    text = printed_number(abs(value), unit)
    is_zero = math.isfinite(value) and float(text.replace(",", "")) == 0
    sign = "" if is_zero or math.isnan(value) else _MINUS if value < 0 else "+"
    return sign + text
