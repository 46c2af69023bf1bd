"""Two models on the same samples, figure by figure."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray as NDArray

from clip_lightning.results import Comparison, Result
from clip_lightning.stats import mcnemar, paired_bootstrap

UNPAIRED = "none: the metric has no share of a single sample"


def compare(rows: Sequence[Result], baseline: Sequence[Result]) -> list[Comparison]:
    """Differences of the results that both models have, paired by sample.

    Intervals are of the paired bootstrap, drawn within classes where the value is a mean over classes, and by what
    samples depend on together. The probability is McNemar's, exact; it has none where classes weight the samples.

    Args:
        rows: Results of the one model.
        baseline: Results of the other.

    Raises:
        ValueError: If both have a result that is of different samples, such as where one could not read some.
    """
    others = {row.name: row for row in baseline}
    return [_compare(row, others[row.name]) for row in rows if row.name in others]


def _compare(row: Result, other: Result) -> Comparison:
    if (row.n, row.missing) != (other.n, other.missing):
        raise ValueError(
            f"{row.name} is of {row.n} samples of {row.model!r} and {other.n} of {other.model!r}; their data changed "
            "between the two, so measure both again"
        )
    interval, p_value, method = None, None, UNPAIRED
    if row.items is not None and other.items is not None:
        values, others = _independent(row.items, row.clusters), _independent(other.items, row.clusters)
        interval = paired_bootstrap(values, others, row.strata)
        p_value = mcnemar(values, others) if row.strata is None else None
        method = "paired bootstrap" if p_value is None else "paired bootstrap, exact McNemar"
    return Comparison(
        name=row.name,
        model=row.model,
        baseline=other.model,
        difference=row.value - other.value,
        interval=interval,
        p_value=p_value,
        method=method,
        n=row.n,
        unit=row.unit,
    )


def _independent(
    items: Float[NDArray, "items"], clusters: Int[NDArray, "items"] | None
) -> Float[NDArray, "independent"]:
    """Values of the same mean that do not depend on each other: the items, or what each cluster adds to the mean."""
    if clusters is None:
        return items
    _, cluster = np.unique(clusters, return_inverse=True)
    added: NDArray = np.bincount(cluster, items)
    return added * len(added) / len(items)
