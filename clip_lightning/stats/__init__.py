"""Intervals and tests: of samples, of two models on the same ones, over seeds, over data sets. No torch."""

from clip_lightning.stats.intervals import (
    CONFIDENCE,
    bootstrap_interval,
    bootstrap_mean_per_class,
    clustered_interval,
    clustered_median_interval,
    wilson_interval,
)
from clip_lightning.stats.paired import mcnemar, paired_bootstrap
from clip_lightning.stats.relation import Relation, linear_relation
from clip_lightning.stats.seeds import (
    BOOTSTRAP_FROM,
    POWER,
    PairedDifference,
    detectable_difference,
    holm,
    interval_over_seeds,
    paired_difference,
    paired_power,
    pairs_needed,
    t_interval,
)

__all__ = [
    "BOOTSTRAP_FROM",
    "CONFIDENCE",
    "POWER",
    "PairedDifference",
    "Relation",
    "bootstrap_interval",
    "bootstrap_mean_per_class",
    "clustered_interval",
    "clustered_median_interval",
    "detectable_difference",
    "holm",
    "interval_over_seeds",
    "linear_relation",
    "mcnemar",
    "paired_bootstrap",
    "paired_difference",
    "paired_power",
    "pairs_needed",
    "t_interval",
    "wilson_interval",
]
