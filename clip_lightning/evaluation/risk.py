"""What is gained where a model may decline: the risk of its answers by how many it gives, the surest first."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray as NDArray


@dataclass(frozen=True)
class RiskCoverage:
    """Samples from the surest to the least sure, sorted once, so that a resampling costs no further sorting.

    Args:
        order: Samples, the surest first.
        starts: First place of each run of equal confidence.
        wrong: Share of each sample, in this order, that is wrong.
    """

    order: Int[NDArray, "samples"]
    starts: Int[NDArray, "steps"]
    wrong: Float[NDArray, "samples"]

    @classmethod
    def of(cls, confidence: Float[NDArray, "samples"], hits: Float[NDArray, "samples"]) -> Self:
        """Sorts the samples.

        Args:
            confidence: Larger is surer; a NaN counts as surest, since nothing else is worse.
            hits: 1 where the answer is right, 0 where it is wrong, a fraction where it shares a tie.
        """
        known = np.where(np.isnan(confidence), np.inf, confidence)
        order = np.argsort(-known, kind="stable")
        ranked = known[order]
        starts = np.append(0, np.flatnonzero(ranked[1:] != ranked[:-1]) + 1)
        return cls(order, starts, 1.0 - hits[order])

    def risks(self, counts: Int[NDArray, "samples"]) -> Float[NDArray, "samples"]:
        """Share of wrong answers among the surest, as one after another is added; of equal confidence all at a time.

        Args:
            counts: How often each sample counts, 0 or more.
        """
        ranked = counts[self.order]
        sizes = np.add.reduceat(ranked, self.starts)
        # Among equals a random order decides, in which each is as likely to be wrong as all of them are.
        rates = np.add.reduceat(ranked * self.wrong, self.starts) / np.maximum(sizes, 1)
        wrong = np.repeat(rates, sizes)
        return np.cumsum(wrong) / np.arange(1, len(wrong) + 1)

    def area(self, counts: Int[NDArray, "samples"]) -> float:
        """Mean risk over all coverages, 0 to the share of wrong answers for a confidence that tells anything.

        Args:
            counts: How often each sample counts, 0 or more.

        Source: Geifman et al. 2019 (arXiv 1805.08206), section 2.
        """
        return float(self.risks(counts).mean())
