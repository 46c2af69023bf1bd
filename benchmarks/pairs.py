"""The ratio of two things that are measured in turns, with an interval: what drifts meets both alike."""

import statistics
import time
from collections.abc import Callable, Sequence

from scipy.stats import binom


def seconds(step: Callable[[], object]) -> float:
    """CPU time of one call, which other work on the machine lengthens less than it does wall time."""
    started = time.process_time()
    step()
    return time.process_time() - started


def compare(ours: Callable[[], object], theirs: Callable[[], object], pairs: int) -> str:
    """The median of theirs over ours, and the order statistics around it."""
    ours(), theirs()
    # Which of a pair comes first alternates, so that what drifts meets both alike.
    ratios = []
    for number in range(pairs):
        first, second = (ours, theirs) if number % 2 else (theirs, ours)
        one, other = seconds(first), seconds(second)
        ratios.append(other / one if number % 2 else one / other)
    return median(ratios)


def median(ratios: Sequence[float]) -> str:
    """The median, and the order statistics that hold that of all there could be in 95 % of cases, as text."""
    ordered = sorted(ratios)
    # The k-th smallest and the k-th largest hold the median between them unless fewer than k are on one side of it.
    k = max(int(binom.ppf(0.025, len(ordered), 0.5)), 1)
    return f"{statistics.median(ordered):.2f} ({ordered[k - 1]:.2f} to {ordered[-k]:.2f})"
