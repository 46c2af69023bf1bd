"""How each figure was measured, and what was not."""

from collections.abc import Sequence
from typing import Any

from clip_lightning.reports.document import Block, Facts, Folded, Row, Section, Table
from clip_lightning.reports.evaluation.evaluated import Evaluated, evaluator_of
from clip_lightning.reports.evaluation.wording import data_set, family_title, reasons_text
from clip_lightning.results import Result, counted

_MOST_ITEMS = 12


def protocol_section(models: Sequence[Evaluated]) -> Section:
    """Protocols of all figures, those of a family together; figures of one protocol share an entry."""
    groups: dict[str, list[Result]] = {}
    for model in models:
        for row in model.rows:
            groups.setdefault(repr((row.source, row.name.rpartition("/")[0], row.protocol)), []).append(row)
    entries: dict[str, list[Folded]] = {}
    for rows in groups.values():
        metrics = ", ".join(dict.fromkeys(row.metric for row in rows))
        facts = Facts({"n": f"{rows[0].n:,}", "intervals": _methods(rows), **_plain(rows[0].protocol)})
        title = family_title(evaluator_of(rows[0]))
        entries.setdefault(title, []).append(Folded(f"{rows[0].name.rpartition('/')[0]}: {metrics}", [facts]))
    families = [Folded(f"{title}: {counted(len(own), 'protocol')}", own) for title, own in entries.items()]
    return Section("How it was measured", families)


def missing_section(models: Sequence[Evaluated]) -> Section | None:
    """Samples and data sets that were not evaluated; None if there are none."""
    samples = {
        (model.name, row.source): Row(
            (
                model.name,
                data_set(row),
                f"{row.missing:,}",
                f"{row.n:,}",
                reasons_text(model.unreadable.get(row.source, {})),
            )
        )
        for model in models
        for row in model.rows
        if row.missing
    }
    sets = [Row((model.name, name, reason)) for model in models for name, reason in model.absent.items()]
    blocks: list[Block] = []
    if samples:
        caption = "Samples that could not be evaluated, such as images that cannot be read. They are not in n."
        blocks.append(Table(caption, ["Model", "Data set", ">Missing", ">Evaluated", "Why"], list(samples.values())))
    if sets:
        blocks.append(Table("What was asked for and not measured.", ["Model", "What", "Why"], sets))
    return Section("What is missing", blocks) if blocks else None


def _methods(rows: Sequence[Result]) -> str:
    return "; ".join(dict.fromkeys(row.method for row in rows if row.method)) or "none"


def _plain(protocol: dict[str, Any]) -> dict[str, str]:
    return {key.replace("_", " "): _text(value) for key, value in protocol.items()}


def _text(value: Any) -> str:
    """A value in words; of a long list the beginning."""
    if isinstance(value, dict):
        return _cut([f"{key}: {_text(item)}" for key, item in value.items()])
    if isinstance(value, list | tuple):
        # Several names of one class stand together.
        return _cut([" / ".join(map(str, item)) if isinstance(item, list | tuple) else str(item) for item in value])
    return str(value) or "(empty)"


def _cut(items: list[str]) -> str:
    text = "; ".join(items[:_MOST_ITEMS])
    rest = len(items) - _MOST_ITEMS
    return f"{len(items):,} in all: {text}, … and {rest:,} more (in results.json)" if rest > 0 else text
