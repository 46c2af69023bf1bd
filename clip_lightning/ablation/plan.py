"""One resolved configuration a run, and the key that tells it from all other runs."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clip_lightning.ablation.facts import Facts
from clip_lightning.ablation.schedule import Rules
from clip_lightning.ablation.study import Study
from clip_lightning.config import Config, set_by_path

WITHOUT_EFFECT = (
    "name",
    "num_threads",
    "data.num_workers",
    "evaluation.num_workers",
    "trainer.logger",
    "trainer.log_every_n_steps",
    "trainer.enable_progress_bar",
    "trainer.enable_model_summary",
)
"""What does not tell one run from another: its name, where it is tracked, and how a machine shares its work."""


def key_of(config: Config) -> str:
    """A hash of a resolved configuration, the same for all that give the same run.

    Args:
        config: With all defaults.

    Returns:
        16 hexadecimal digits.
    """
    for key in WITHOUT_EFFECT:
        config = set_by_path(config, key, None)
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class PlannedRun:
    """A variant with a seed.

    Args:
        variant: Its name.
        seed: Its seed.
        key: By which the run is found among those of all studies.
        config: Its resolved configuration.
    """

    variant: str
    seed: int
    key: str
    config: Config

    def __str__(self) -> str:
        return f"{self.variant}, seed {self.seed}"


class Plan:
    """What a study will do.

    Args:
        study: The study.
        facts: What its variants are and cost, by name.

    Attributes:
        steps: Optimiser steps of each variant.

    Raises:
        ValueError: If two variants are the same, a metric will not be reported, or a variant cannot be trained for the
            budget.
    """

    def __init__(self, study: Study, facts: Mapping[str, Facts]) -> None:
        self.study, self.facts = study, facts
        _check_metrics(study, facts)
        self.steps = {name: _steps(study, name, found) for name, found in facts.items()}
        self._configs = {name: _with_steps(study, found.config, self.steps[name]) for name, found in facts.items()}
        _check_different(self._configs)
        self.rules = Rules(
            list(study.variants), study.baseline, study.metrics[study.decides], study.seeds, study.hopeless
        )

        self._runs: dict[tuple[str, int], PlannedRun] = {}

    def run(self, variant: str, seed: int) -> PlannedRun:
        """The run of a variant with a seed."""
        if (variant, seed) not in self._runs:
            config = {**self._configs[variant], "seed_everything": seed}
            self._runs[variant, seed] = PlannedRun(variant, seed, key_of(config), config)
        return self._runs[variant, seed]


def _check_metrics(study: Study, facts: Mapping[str, Facts]) -> None:
    for name, found in facts.items():
        for metric in study.metrics:
            if metric not in found.reports:
                raise ValueError(
                    f"metric {metric!r} is reported by no run of variant {name!r}; there are: "
                    f"{', '.join(found.reports)}"
                )


def _steps(study: Study, name: str, facts: Facts) -> int:
    if study.budget is not None:
        return study.budget.steps(name, facts)
    if facts.steps is None:
        raise ValueError(
            f"nothing says how long variant {name!r} is trained; give the study a budget, such as {{samples: 100000}}"
        )
    return facts.steps


def _with_steps(study: Study, config: Config, steps: int) -> Config:
    """The configuration with the budget's steps; one that says itself how long it trains is left alone."""
    if study.budget is None:
        return config
    trainer: dict[str, Any] = {**config["trainer"], "max_steps": steps, "max_epochs": -1, "max_time": None}
    return {**config, "trainer": trainer}


def _check_different(configs: Mapping[str, Config]) -> None:
    named: dict[str, list[str]] = {}
    for name, config in configs.items():
        named.setdefault(key_of(config), []).append(repr(name))
    for names in named.values():
        if len(names) > 1:
            raise ValueError(
                f"variants {' and '.join(names)} have the same resolved configuration, so there is nothing to compare; "
                "remove one, or look for a value that is the default"
            )
