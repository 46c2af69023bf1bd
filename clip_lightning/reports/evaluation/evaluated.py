"""What a report on evaluations is made of: models with their results, in families."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from clip_lightning.reference import Reference, compare
from clip_lightning.reports.evaluation.wording import FAMILIES, data_set, family_title
from clip_lightning.results import Comparison, Result


@dataclass(frozen=True)
class Evaluated:
    """A model and what was measured of it.

    Args:
        name: What the model is called in the report.
        rows: Its results. Of an evaluator's results on one data set, the first decides.
        facts: Names and values that describe it: checkpoint, hash of the weights, configuration, samples seen.
        published_as: Name of the published model that it is set beside, such as "ViT-B/32"; None for none.
        absent: What was asked for and not measured, and why.
        comparisons: With the first model of the report.
        unreadable: Why samples are missing: by the name of the data set, the number of its images by reason.
    """

    name: str
    rows: Sequence[Result]
    facts: Mapping[str, str] = field(default_factory=dict)
    published_as: str | None = None
    absent: Mapping[str, str] = field(default_factory=dict)
    comparisons: Sequence[Comparison] = ()
    unreadable: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


class Measured(NamedTuple):
    """A result in its family.

    Args:
        row: The result.
        is_deciding: Whether it is the first of its data set.
        reference: What was published for it, if anything.
    """

    row: Result
    is_deciding: bool
    reference: Reference | None


class Family(NamedTuple):
    """Results of one evaluator.

    Args:
        evaluator: Its name, as in the results' names.
        measured: Its results; those of a data set stand together.
    """

    evaluator: str
    measured: Sequence[Measured]

    @property
    def title(self) -> str:
        """Headline."""
        return family_title(self.evaluator)

    @property
    def rows(self) -> list[Result]:
        """All its results."""
        return [one.row for one in self.measured]

    @property
    def has_further(self) -> bool:
        """Whether some data set has more than the result that decides."""
        return not all(one.is_deciding for one in self.measured)

    @property
    def deciding(self) -> list[Measured]:
        """The first result of each data set."""
        return [one for one in self.measured if one.is_deciding]

    @property
    def of_data_sets(self) -> list[Measured]:
        """The first result of each data set, without averages over several of them."""
        return [one for one in self.deciding if not is_average(one.row)]

    def detailed(self, kind: str) -> list[Result]:
        """Its results with details of a kind."""
        return [row for row in self.rows if row.details and row.details["kind"] == kind]


def families(model: Evaluated) -> list[Family]:
    """A model's results by evaluator, those of the paper first."""
    by_evaluator: dict[str, dict[str, list[Result]]] = {}
    for row in model.rows:
        by_evaluator.setdefault(evaluator_of(row), {}).setdefault(data_set(row), []).append(row)
    ranks = {evaluator: rank for rank, evaluator in enumerate(FAMILIES)}
    ordered = sorted(by_evaluator.items(), key=lambda item: ranks.get(item[0], len(ranks)))
    return [
        Family(evaluator, [one for rows in sources.values() for one in _measured(rows, evaluator, model.published_as)])
        for evaluator, sources in ordered
    ]


def _measured(rows: Sequence[Result], evaluator: str, published_as: str | None) -> Iterator[Measured]:
    for place, row in enumerate(rows):
        reference = compare(row, evaluator, published_as) if published_as else None
        # Of another metric only the deciding result is worth a word.
        is_comparable = reference is not None and (place == 0 or reference.figure.metric == row.metric)
        yield Measured(row, place == 0, reference if is_comparable else None)


def is_average(row: Result) -> bool:
    """Whether a result is a mean over data sets, whose metrics its protocol then names."""
    return "metrics" in row.protocol


def evaluator_of(row: Result) -> str:
    """The evaluator by a result's name, ``[<stage>/]<evaluator>/<dataset>/<metric>``."""
    return row.name.split("/")[-3:][0]
