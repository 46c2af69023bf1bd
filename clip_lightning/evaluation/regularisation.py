"""The strength of a probe's penalty: a grid of eight steps a decade, searched by halving the steps around the best."""

from collections.abc import Callable

STEPS_PER_DECADE = 8
DECADES = 6
LAST = 2 * DECADES * STEPS_PER_DECADE
"""Last of the grid's places, which begin at 0."""


def strength(place: int) -> float:
    """Lambda at a place of the grid: 1e-6 at 0 to 1e6 at ``LAST``; scikit-learn's C is its reciprocal."""
    return float(10.0 ** (place / STEPS_PER_DECADE - DECADES))


def search(value: Callable[[int], float]) -> int:
    """Finds the best place with at most 15 evaluations instead of 97.

    Every second decade is tried first. Then a step to either side of the best is tried, and the best of all moved to,
    with steps that are halved until they are the grid's. Of equal ones, the stronger penalty is the better.

    Args:
        value: What is to be as large as possible, of a place; it is asked once for each, the strongest first.

    Source: Radford et al. 2021 (arXiv 2103.00020), appendix A.3.
    """
    step = 2 * STEPS_PER_DECADE
    found = {place: value(place) for place in range(LAST, -1, -step)}
    while step > 1:
        step //= 2
        best = _best(found)
        for place in (best + step, best - step):
            if 0 <= place <= LAST:
                found[place] = value(place)
    return _best(found)


def _best(found: dict[int, float]) -> int:
    return max(found, key=lambda place: (found[place], place))
