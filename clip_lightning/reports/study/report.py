"""The report on a study, put together from its parts."""

from collections.abc import Mapping

from clip_lightning.ablation.comparison import all_pairs, summaries
from clip_lightning.ablation.outcome import Outcome
from clip_lightning.ablation.reproduction import Reproduction
from clip_lightning.reports.document import Block, Document, Facts, Folded, Section
from clip_lightning.reports.study.answer import answer
from clip_lightning.reports.study.plots import costs_plot, curves_plot, means_plot
from clip_lightning.reports.study.scaling import power_law
from clip_lightning.reports.study.tables import (
    differences_table,
    failures,
    metrics_table,
    pairs_table,
    runs_table,
    variants_table,
)
from clip_lightning.reports.study.wording import Unit


def study_report(outcome: Outcome, facts: Mapping[str, str], reproduction: Reproduction | None = None) -> Document:
    """The answer first, then what is not resolved, how it was learned, what it costs, and how it was done.

    Args:
        outcome: A study and its runs.
        facts: What made the report: command, date, version.
        reproduction: What came of doing a run again; None where none was.
    """
    study = outcome.plan.study
    unit, values = Unit(study.decides), outcome.values(study.decides)
    ranked = summaries(values, study.metrics[study.decides], outcome.dropped)
    pairs = all_pairs(ranked, values, outcome.dropped)
    first: list[Block | None] = [*answer(outcome, ranked, pairs)]
    if any(one.values for one in ranked):
        first += [means_plot(ranked, unit, study.baseline), variants_table(outcome, ranked)]
        first.append(metrics_table(outcome, ranked))
    sections = [Section("Which differences are resolved", [pairs_table(pairs, unit)])] if pairs else []
    if curves := curves_plot(outcome, ranked):
        sections.append(Section("How they learn", [curves]))
    if costs := costs_plot(outcome, ranked):
        law = power_law(outcome, ranked)
        sections.append(Section("What they cost", [costs, *([law] if law else [])]))
    if failed := failures(outcome.runs):
        sections.append(Section("Runs that did not end well", failed))
    sections += [
        Section("What differs", [differences_table(outcome)]),
        Section("Is it reproducible?", _reproduced(reproduction)),
        Section("How it was done", [Facts(_protocol(outcome)), runs_table(outcome.runs, unit)]),
    ]
    blocks = [block for block in first if block is not None]
    return Document(study.question, {"source": study.source, **facts}, blocks, sections)


def _reproduced(found: Reproduction | None) -> list[Block]:
    """What came of doing a run again."""
    if found is None:
        return ["No run was done again; report --study DIR --reproduce does one of them, and compares."]
    equal = "Everything is equal: weights, results and learning curves, bit by bit."
    unequal = f"It is not equal: {found.said[-1] if found.said else 'nothing was compared'}."
    text = f"{found.run}, drawn by chance from the finished runs, was done again; {found.date}."
    lines = Folded("What was compared", [Facts({"command": f"python {found.command}"}), *found.said])
    return [f"{text} {equal if found.code == 0 else unequal}", lines]


def _protocol(outcome: Outcome) -> dict[str, str]:
    study = outcome.plan.study
    commits = sorted({one.commit for one in outcome.runs if one.commit})
    return {
        "base": ", ".join(study.base),
        "budget": str(study.budget or "as each variant says"),
        "seeds": str(study.seeds),
        "early end": str(study.hopeless or "none"),
        "deciding metric": f"{study.decides} ({study.metrics[study.decides]}), of the checkpoint with the best "
        "validation metric where it is a result, and otherwise the last of the learning curve",
        "code": ", ".join(commits) or "in no checkout of git",
    }
