"""Averages over the data sets that publications average over."""

from collections.abc import Sequence
from types import MappingProxyType

from clip_lightning.results import Result

KORNBLITH = MappingProxyType(
    {
        "food101": "accuracy",
        "cifar10": "accuracy",
        "cifar100": "accuracy",
        "birdsnap": "accuracy",
        "sun397": "accuracy",
        "stanford_cars": "accuracy",
        "fgvc_aircraft": "mean_per_class_accuracy",
        "voc2007": "mean_average_precision_11_point",
        "dtd": "accuracy",
        "oxford_pets": "mean_per_class_accuracy",
        "caltech101": "mean_per_class_accuracy",
        "flowers102": "mean_per_class_accuracy",
    }
)
"""The twelve data sets, by their names in ``configs/evaluate/datasets``, and the metric of each."""


def kornblith_average(results: Sequence[Result], evaluator: str = "linear_probe") -> Result:
    """Mean over the twelve data sets that Kornblith et al. transfer to, each with the same weight.

    Args:
        results: Of one model; others than the twelve are left out.
        evaluator: First part of the names of the results that are averaged.

    Returns:
        A result without interval, since the data sets are no sample of any.

    Raises:
        ValueError: If one of the twelve is missing, or they are of different stages of the model.

    Source: Kornblith et al. 2019 (arXiv 1805.08974); used by Radford et al. 2021 (arXiv 2103.00020), section 3.2.
    """
    rows = {row.source: row for row in results if row.name == f"{evaluator}/{row.source}/{KORNBLITH.get(row.source)}"}
    if missing := [f"{name} ({metric})" for name, metric in KORNBLITH.items() if name not in rows]:
        raise ValueError(
            f"the average over Kornblith's twelve data sets lacks {', '.join(missing)}; evaluate these too"
        )
    chosen = [rows[name] for name in KORNBLITH]
    stages = sorted({str(row.protocol.get("stage")) for row in chosen})
    if len(stages) > 1:
        raise ValueError(f"the twelve results are of the stages {' and '.join(stages)}; an average needs one stage")
    return Result(
        name=f"{evaluator}/kornblith_12/mean",
        value=sum(row.value for row in chosen) / len(chosen),
        interval=None,
        method="none: the data sets are no sample",
        n=sum(row.n for row in chosen),
        missing=sum(row.missing for row in chosen),
        metric="mean",
        protocol={"metrics": dict(KORNBLITH), "stage": stages[0]},
        source="kornblith_12",
        model=chosen[0].model,
    )


def averages_of(results: Sequence[Result]) -> list[Result]:
    """The averages of which every data set was measured, by the metric that it has in them.

    Args:
        results: Of one model.
    """
    found = {row.name for row in results}
    evaluators = sorted({row.name.partition("/")[0] for row in results if row.source in KORNBLITH})
    complete = [one for one in evaluators if all(f"{one}/{name}/{KORNBLITH[name]}" in found for name in KORNBLITH)]
    return [kornblith_average(results, one) for one in complete]
