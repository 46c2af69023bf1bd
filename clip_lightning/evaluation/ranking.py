"""How well scores put the samples of a class before the others: average precision at 11 points, area under the ROC.

Samples of equal score are taken in one step, so their order decides nothing: a collapsed model is at chance.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray as NDArray


@dataclass(frozen=True)
class Ranking:
    """Samples by descending score, sorted once, so that a resampling costs no further sorting.

    Args:
        order: Samples, the best first.
        ends: Last place of each run of equal scores.
        positive: Whether the sample at each place is of the class.
    """

    order: Int[NDArray, "samples"]
    ends: Int[NDArray, "steps"]
    positive: Bool[NDArray, "samples"]

    @classmethod
    def of(cls, scores: Float[NDArray, "samples"], positive: Bool[NDArray, "samples"]) -> Self:
        """Sorts the samples.

        Args:
            scores: Larger is likelier; a NaN is the worst that its sample can get.
            positive: Whether each sample is of the class.
        """
        known = np.where(np.isnan(scores), np.where(positive, -np.inf, np.inf), scores)
        order = np.argsort(-known, kind="stable")
        ranked = known[order]
        ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
        return cls(order, ends, positive[order])

    def average_precision_11_point(self, counts: Int[NDArray, "samples"]) -> float:
        """Mean of the highest precision that is reached at a recall of at least 0, 0.1, ..., 1; NaN without a positive.

        Args:
            counts: How often each sample counts, 0 or more.

        Source: Everingham et al. 2010, "The PASCAL Visual Object Classes (VOC) Challenge", section 4.2.
        """
        hits, seen = self._steps(counts)
        if hits[-1] == 0:
            return float("nan")
        precision = hits / np.maximum(seen, 1)
        best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
        # In whole numbers, since 3 / 10 and 0.3 may differ.
        reached = np.searchsorted(10 * hits, np.arange(11) * hits[-1])
        return float(best_from_here[reached].mean())

    def roc_auc(self, counts: Int[NDArray, "samples"]) -> float:
        """Probability that a positive is before a negative, equal scores shared; NaN if there is none of either.

        Args:
            counts: How often each sample counts, 0 or more.
        """
        hits, seen = self._steps(counts)
        false = seen - hits
        if hits[-1] == 0 or false[-1] == 0:
            return float("nan")
        area = np.trapezoid(np.append(0, hits), np.append(0, false))
        return float(area / (hits[-1] * false[-1]))

    def average_precision(self, counts: Int[NDArray, "samples"]) -> float:
        """Mean over the positives of the precision where each is found; NaN without one.

        Args:
            counts: How often each sample counts, 0 or more.
        """
        hits, seen = self._steps(counts)
        if hits[-1] == 0:
            return float("nan")
        return float(np.diff(hits, prepend=0) @ (hits / np.maximum(seen, 1)) / hits[-1])

    def false_positive_rate(self, counts: Int[NDArray, "samples"], recall: float) -> float:
        """Share of the negatives that are taken where so large a share of the positives is; NaN if there is none.

        Args:
            counts: How often each sample counts, 0 or more.
            recall: Share of the positives, above 0 and at most 1; within equal scores as many are taken as it needs.
        """
        hits, seen = self._steps(counts)
        false, wanted = seen - hits, recall * hits[-1]
        if hits[-1] == 0 or false[-1] == 0:
            return float("nan")
        step = int(np.searchsorted(hits, wanted))
        hits_before, false_before = (hits[step - 1], false[step - 1]) if step else (0, 0)
        share = (wanted - hits_before) / (hits[step] - hits_before)
        return float((false_before + share * (false[step] - false_before)) / false[-1])

    def _steps(self, counts: Int[NDArray, "samples"]) -> tuple[Int[NDArray, "steps"], Int[NDArray, "steps"]]:
        """Positives, and all samples, down to the end of each run of equal scores."""
        ranked = counts[self.order]
        return np.cumsum(ranked * self.positive)[self.ends], np.cumsum(ranked)[self.ends]
