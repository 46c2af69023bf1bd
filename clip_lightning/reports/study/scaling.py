"""How the error follows what is computed, over sizes of a model."""

import math
from collections.abc import Sequence

from clip_lightning.ablation.comparison import Summary
from clip_lightning.ablation.outcome import Outcome
from clip_lightning.stats import linear_relation
from clip_lightning.stats.relation import FEWEST

WIDE = 8
"""Costs that differ by a larger factor are seen as factors: on a logarithmic axis, and in a power law."""


def power_law(outcome: Outcome, ranked: Sequence[Summary]) -> str | None:
    """The exponent by which the error falls with the computation of the image tower.

    Args:
        outcome: A study.
        ranked: Its variants by the deciding metric.

    Returns:
        A sentence; None where the metric is no accuracy, or the computation does not differ enough to show it.

    Source: Radford et al. 2021 (arXiv 2103.00020), figure 9.
    """
    facts = outcome.plan.facts
    points = [(flops, 1 - one.mean) for one in ranked if one.values and (flops := facts[one.name].image_flops)]
    if "accuracy" not in outcome.plan.study.decides or len(points) < FEWEST or min(error for _, error in points) <= 0:
        return None
    costs, errors = zip(*points, strict=True)
    if max(costs) <= WIDE * min(costs) or len(set(errors)) == 1:
        return None
    found = linear_relation([math.log(cost) for cost in costs], [math.log(error) for error in errors])
    low, high = found.slope_interval
    return (
        f"Over these {len(points)} variants the error falls as the image tower's FLOPs to the power of "
        f"{found.slope:.3f}: with twice the computation it is {2**found.slope:.2f} times as large. The exponent's 95 % "
        f"interval is {low:.3f} to {high:.3f}, R\N{SUPERSCRIPT TWO} {found.correlation**2:.2f}, of a straight line "
        "through the logarithms of the means."
    )
