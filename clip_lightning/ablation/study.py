"""What a study's file says, checked as far as that needs no model."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, cast

from clip_lightning.ablation.budget import Budget
from clip_lightning.ablation.schedule import Hopeless, SeedRule
from clip_lightning.ablation.variants import Options, expand, paths_of
from clip_lightning.config import Config

Mode = Literal["max", "min"]

KEYS = (
    "name",
    "question",
    "source",
    "base",
    "variants",
    "axes",
    "baseline",
    "metrics",
    "seeds",
    "budget",
    "stop_hopeless",
    "retries",
    "executor",
    "runs_dir",
)
"""Keys of a study's file, which are options of the command line too."""

DEFAULT_RUNS = Path("runs") / "by_config"
"""Where the runs of all studies are, each once, by what its configuration is."""


@dataclass(frozen=True)
class Study:
    """A question, and what is done to answer it.

    Args:
        name: Of its folder, and of its run in MLflow.
        question: What it is to answer.
        source: Where the question, or an earlier answer, comes from.
        base: Configuration files that all variants have in common, later ones over earlier ones.
        variants: What each variant lays over them.
        baseline: The variant that the others are compared with.
        metrics: Deciding metrics, and whether more or less is better; the first orders the variants.
        seeds: Which seeds are run.
        budget: What all variants may spend alike; None where the files say how long each trains.
        hopeless: When a variant gets no further seeds; None for never.
        retries: How often a run that fails is tried again, >= 0.
        executor: Class and arguments of what does the runs.
        runs_dir: Folder of the runs of all studies.
    """

    name: str
    question: str
    source: str
    base: list[str]
    variants: dict[str, Options]
    baseline: str
    metrics: dict[str, Mode]
    seeds: SeedRule
    budget: Budget | None
    hopeless: Hopeless | None
    retries: int
    executor: Config
    runs_dir: Path

    @classmethod
    def read(cls, config: Config, name: str) -> Self:
        """Makes a study of what its file holds.

        Args:
            config: Plain data.
            name: Its name, where the file gives none.

        Returns:
            The study.

        Raises:
            ValueError: With the key and what it should be.
        """
        _check_keys(config)
        variants = expand(config.get("variants"), config.get("axes"))
        hopeless = config.get("stop_hopeless")
        budget = config.get("budget")
        return cls(
            name=str(config.get("name") or name),
            question=_text(config, "question"),
            source=_text(config, "source"),
            base=paths_of(config["base"], "base"),
            variants=variants,
            baseline=_baseline(config.get("baseline"), variants),
            metrics=_metrics(config["metrics"]),
            seeds=SeedRule.read(config["seeds"]),
            budget=None if budget is None else Budget.read(budget),
            hopeless=None if hopeless is None else Hopeless.read(hopeless),
            retries=whole_number(config.get("retries", 1), "retries", 0),
            executor=_executor(config.get("executor", "LocalPool")),
            runs_dir=Path(str(config.get("runs_dir") or DEFAULT_RUNS)),
        )

    @property
    def decides(self) -> str:
        """The metric by which variants are ordered."""
        return next(iter(self.metrics))


def whole_number(value: Any, key: str, least: int) -> int:
    """A number of the file that must be whole.

    Args:
        value: What is given.
        key: Its key, for the message.
        least: The smallest allowed.

    Raises:
        ValueError: If it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{key} is {value!r}; give a whole number, {least} or more")
    return value


def _check_keys(config: Config) -> None:
    for key in config:
        if key not in KEYS:
            near = difflib.get_close_matches(str(key), KEYS, n=1)
            remedy = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(KEYS)}"
            raise ValueError(f"key {key} of the study is not known; {remedy}")
    for key in ("question", "source", "base", "metrics", "seeds"):
        if not config.get(key):
            raise ValueError(f"the study says nothing of its {key}; give {key}: {_EXAMPLES[key]}")


_EXAMPLES = {
    "question": "Which image encoder learns most from a given amount of computation?",
    "source": "arXiv 2103.00020, section 3.3",
    "base": "[configs/quickstart.yaml]",
    "metrics": "{test/zero_shot/shape_scenes/accuracy: max}",
    "seeds": "[0, 1, 2, 3, 4]",
}


def _text(config: Config, key: str) -> str:
    if not isinstance(config[key], str):
        raise ValueError(f"{key} is {config[key]!r}; give a text such as {_EXAMPLES[key]!r}")
    return str(config[key]).strip()


def _baseline(given: Any, variants: Mapping[str, Options]) -> str:
    if given is None:
        return next(iter(variants))
    if given not in variants:
        raise ValueError(f"baseline {given!r} is no variant; there are: {', '.join(variants)}")
    return str(given)


def _metrics(given: Any) -> dict[str, Mode]:
    if not isinstance(given, Mapping) or not all(mode in ("max", "min") for mode in given.values()):
        raise ValueError(
            f"metrics is {given!r}; give each metric with what is better, max or min, such as {_EXAMPLES['metrics']}"
        )
    return {str(name): cast(Mode, mode) for name, mode in given.items()}


def _executor(given: Any) -> Config:
    spec = {"class_path": given} if isinstance(given, str) else given
    if not isinstance(spec, Mapping) or set(spec) - {"class_path", "init_args"} or "class_path" not in spec:
        raise ValueError(f"executor is {given!r}; give a class, such as {{class_path: LocalPool, init_args: {{...}}}}")
    return dict(spec)
