"""The report on evaluations, put together from its parts."""

from collections.abc import Callable, Mapping, Sequence

from clip_lightning.reports.document import Block, Document, Facts, Section
from clip_lightning.reports.evaluation.calibration import reliability_plot, risk_coverage_plot
from clip_lightning.reports.evaluation.choices import search_plot, template_plot, template_table
from clip_lightning.reports.evaluation.class_details import class_details, confusions
from clip_lightning.reports.evaluation.comparison import difference_plot, difference_table, side_by_side
from clip_lightning.reports.evaluation.evaluated import Evaluated, Family, families
from clip_lightning.reports.evaluation.few_shot import few_shot_plot
from clip_lightning.reports.evaluation.few_shot_models import few_shot_models_plot
from clip_lightning.reports.evaluation.forest import forest_plot
from clip_lightning.reports.evaluation.protocols import missing_section, protocol_section
from clip_lightning.reports.evaluation.summary import summary
from clip_lightning.reports.evaluation.tables import family_table, remarks
from clip_lightning.reports.evaluation.transfer import gain_block, pairs, transfer_block
from clip_lightning.results import Result

_DETAILS: Mapping[str, tuple[str, Callable[[Sequence[Result]], list[Block]]]] = {
    "few_shot_curve": ("From few images", lambda rows: [few_shot_plot(rows)]),
    "reliability": ("Reliability", lambda rows: [reliability_plot(rows)]),
    "risk_coverage": ("Risk and coverage", lambda rows: [risk_coverage_plot(rows)]),
    "templates": ("Templates", lambda rows: [template_plot(rows), *map(template_table, rows)]),
    "probe_search": ("Choice of the regularisation", lambda rows: [search_plot(rows)]),
    "per_class": ("Classes", lambda rows: [*map(class_details, rows)]),
    "confusions": ("Confusions", lambda rows: [*map(confusions, rows)]),
}
"""What is drawn of each kind of details, and under which headline."""


def evaluation_report(models: Sequence[Evaluated], facts: Mapping[str, str], title: str = "Evaluation") -> Document:
    """Summary, comparison, each family of figures with its plots, protocols, and what is missing.

    Args:
        models: One at least; of several, the first is what the others are compared with.
        facts: What made the report: command, date, version.
        title: Headline.

    Raises:
        ValueError: If there is no model, or two have one name.
    """
    names = [model.name for model in models]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"a report needs models of different names, not {names}")
    sections = [*_comparison(models), *(section for model in models for section in _model(model, models))]
    ends = [missing_section(models), protocol_section(models)]
    own = models[0].facts if len(models) == 1 else {}
    return Document(title, {**own, **facts}, summary(models), [*sections, *(end for end in ends if end)])


def _comparison(models: Sequence[Evaluated]) -> list[Section]:
    """Several models side by side, and their differences from the first."""
    if len(models) == 1:
        return []
    blocks: list[Block] = [side_by_side(models)]
    if any(model.comparisons for model in models[1:]):
        plots = (difference_plot(model, models[0].name) for model in models[1:])
        blocks += [*filter(None, plots), difference_table(models)]
    blocks += [few_shots] if (few_shots := few_shot_models_plot(models)) else []
    return [Section("The models compared", blocks)]


def _model(model: Evaluated, models: Sequence[Evaluated]) -> list[Section]:
    """Sections of a model's families; of several models, within one of its name."""
    found = families(model)
    sections = [_family(family, model) for family in found]
    sections += _transfer({family.evaluator: family for family in found}, model, models)
    return sections if len(models) == 1 else [Section(model.name, [Facts(model.facts)], sections)]


def _family(family: Family, model: Evaluated) -> Section:
    blocks: list[Block] = [family_table(family, model.published_as), *remarks(family.rows)]
    forest = forest_plot(family.of_data_sets, model.published_as)
    # Curves of few images show more of the same figures.
    if forest and not family.detailed("few_shot_curve"):
        blocks.append(forest)
    parts = [Section(title, draw(rows)) for kind, (title, draw) in _DETAILS.items() if (rows := family.detailed(kind))]
    return Section(family.title, blocks, parts)


def _transfer(found: Mapping[str, Family], model: Evaluated, models: Sequence[Evaluated]) -> list[Section]:
    """Zero-shot beside the model's own probes, and beside those of a model that has no zero-shot figures."""
    if "zero_shot" not in found:
        return []
    zero_shot = found["zero_shot"]
    blocks = [transfer_block(pairs(zero_shot, found["linear_probe"]))] if "linear_probe" in found else []
    for other in models:
        others = {family.evaluator: family for family in families(other)} if other is not model else {}
        if "linear_probe" in others and "zero_shot" not in others:
            blocks.append(gain_block(pairs(zero_shot, others["linear_probe"]), other.name))
    return [Section("Zero-shot classification and probes", blocks)] if blocks else []
