"""Tables of a study."""

import shlex
from collections.abc import Mapping, Sequence

from clip_lightning.ablation.comparison import Pair, Summary, against, summaries
from clip_lightning.ablation.outcome import Outcome, RunOutcome
from clip_lightning.ablation.runner import command_of
from clip_lightning.config import differing_keys, to_yaml
from clip_lightning.reports.document import Facts, Folded, Row, Table
from clip_lightning.reports.study.wording import NONE, Unit, seeds_in_all, shown_p
from clip_lightning.results import counted

_BY_STUDY = ("seed_everything", "trainer.max_steps", "trainer.max_epochs")
"""What a study sets by itself, and is shown elsewhere."""


def variants_table(outcome: Outcome, ranked: Sequence[Summary]) -> Table:
    """Every variant with its mean, its difference from the baseline, and its costs."""
    study, facts = outcome.plan.study, outcome.plan.facts
    unit = Unit(study.decides)
    pairs = against(outcome.values(study.decides), study.baseline, outcome.dropped)
    differences = {pair.name: pair for pair in pairs}
    rows = []
    for place, one in enumerate(ranked):
        found = facts[one.name]
        speed = speed_of(outcome.of(one.name))
        cells = [one.name, str(len(one.values)), unit.value(one.mean), unit.interval(one.interval)]
        cells += _difference(differences.get(one.name), unit, is_baseline=one.name == study.baseline)
        cells += [f"{found.parameters / 1e6:,.3g}", f"{found.image_flops / 1e9:,.3g}" if found.image_flops else NONE]
        cells += [f"{outcome.plan.steps[one.name]:,}", NONE if speed is None else f"{speed:,.0f}"]
        rows.append(Row(cells, is_strong=place == 0))
    methods = sorted({one.method for one in ranked if one.interval})
    notes = [
        f"Intervals: 95 %, {' and '.join(methods) or 'none'}, over seeds. Differences: paired by seed, from "
        f"{study.baseline}; p of paired t tests, corrected by Holm's method for "
        f"{counted(len(differences), 'comparison')}.",
        "Image FLOPs: one image, forwards, a multiply-add counted as 2. Pairs per second: of training without "
        "evaluations, on one device, as the runs took it, others beside them.",
    ]
    return Table(
        f"Variants by {study.decides}, the best first.",
        ["variant", ">seeds", f">{'%' if unit.is_share else 'mean'}", ">interval", ">difference", ">its interval", ">p",
         ">parameters (M)", ">image GFLOPs", ">steps", ">pairs/s"],
        rows,
        notes=notes,
    )  # fmt: skip


def _difference(pair: Pair | None, unit: Unit, *, is_baseline: bool) -> list[str]:
    if pair is None:
        return ["baseline" if is_baseline else NONE, "", ""]
    found = pair.difference
    ends = NONE
    if found.interval is not None:
        ends = " to ".join(unit.difference(end) for end in found.interval)
    return [unit.difference(found.mean), ends, shown_p(pair.p) if found.n > 1 else NONE]


def metrics_table(outcome: Outcome, ranked: Sequence[Summary]) -> Table | None:
    """The further metrics of each variant; None where there is but the deciding one."""
    study = outcome.plan.study
    others = [metric for metric in study.metrics if metric != study.decides]
    if not others:
        return None
    cells: dict[str, list[str]] = {one.name: [one.name] for one in ranked}
    for metric in others:
        unit = Unit(metric)
        for one in summaries(outcome.values(metric), study.metrics[metric], outcome.dropped):
            interval = f" ({unit.interval(one.interval)})" if one.interval else ""
            cells[one.name].append(unit.value(one.mean) + interval)
    columns = ["variant", *(f">{Unit(metric).head}" for metric in others)]
    return Table("Further metrics: means and 95 % intervals.", columns, [Row(row) for row in cells.values()])


def pairs_table(pairs: Sequence[Pair], unit: Unit) -> Table:
    """Every pair of variants: the unresolved ones are seen, the resolved ones unfolded."""

    def row(pair: Pair) -> Row:
        found = pair.difference
        ends = NONE if found.interval is None else " to ".join(unit.difference(end) for end in found.interval)
        detectable = NONE if pair.detectable is None else unit.value(pair.detectable)
        cells = [f"{pair.name} \N{MINUS SIGN} {pair.other}", str(found.n), unit.difference(found.mean), ends]
        return Row([*cells, shown_p(pair.p), detectable, seeds_in_all(pair)])

    unresolved = [row(pair) for pair in pairs if not pair.is_resolved]
    resolved = [row(pair) for pair in pairs if pair.is_resolved]
    points = " (points)" if unit.is_share else ""
    return Table(
        f"{len(unresolved)} of {len(pairs)} pairs are not resolved.",
        ["pair", ">seeds", f">difference{points}", ">95 % interval", ">p", f">detectable{points}", ">seeds to resolve"],
        unresolved or resolved,
        folded=resolved if unresolved else (),
        notes=[
            f"p: corrected by Holm's method for {counted(len(pairs), 'comparison')}; a pair below 0.05 is resolved. "
            "Detectable: the difference that so many seeds would have found four times in five. Seeds to resolve: how "
            "many in all would find a difference as large as the one seen, four times in five.",
        ],
    )


def differences_table(outcome: Outcome) -> Table:
    """The keys by which the variants' configurations differ, as they were resolved."""
    configs = {name: found.config for name, found in outcome.plan.facts.items()}
    baseline = configs[outcome.plan.study.baseline]
    keys = {key for config in configs.values() for key in differing_keys(baseline, config)} - set(_BY_STUDY)
    rows = [Row([key, *(_at(config, key) for config in configs.values())]) for key in sorted(keys)]
    return Table("What differs between the variants' resolved configurations.", ["key", *configs], rows)


def _at(config: object, key: str) -> str:
    for name in key.split("."):
        config = config.get(name) if isinstance(config, Mapping) else None
    if isinstance(config, Mapping):
        return " ".join(to_yaml(dict(config)).split())
    return str(config)


def runs_table(runs: Sequence[RunOutcome], unit: Unit) -> Table:
    """Every run with its figure and its exact command."""
    rows = []
    for one in runs:
        command = "python " + shlex.join(command_of(one.folder))
        value = unit.value(one.values.get(unit.metric))
        rows.append(Row([one.run.variant, str(one.run.seed), one.state, value, one.commit or NONE, command]))
    return Table(
        "The runs. The command does a run, or goes on with it; its folder has the whole configuration.",
        ["variant", ">seed", "state", f">{'%' if unit.is_share else 'value'}", "commit", "command"],
        rows,
    )


def failures(runs: Sequence[RunOutcome]) -> list[Folded]:
    """What the runs that did not end well printed last."""
    return [
        Folded(f"{one.run}: {one.state}", [Facts({"folder": str(one.folder)}), *one.last_lines])
        for one in runs
        if one.last_lines
    ]


def speed_of(runs: Sequence[RunOutcome]) -> float | None:
    """Pairs per second of a variant: the mean over its runs."""
    speeds = [one.pairs_per_second for one in runs if one.pairs_per_second is not None]
    return sum(speeds) / len(speeds) if speeds else None
