"""Builds the variants of a study, in a process of its own, for one that has no torch: ``... REQUEST ANSWER``.

The request is JSON: ``variants``, composed configurations by name; ``is_here``, whether runs are done on this machine;
``threads`` of a run; ``timings``, a folder where it is kept how long a step takes. The answer is JSON: ``facts`` by
name, or ``error``.
"""

import dataclasses
import json
import platform
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from clip_lightning.ablation.facts import Facts
from clip_lightning.ablation.plan import key_of
from clip_lightning.averages import KINDS, named
from clip_lightning.cli.checks import build_checked
from clip_lightning.cli.errors import is_users_mistake
from clip_lightning.cli.keys import check_keys
from clip_lightning.cli.training import DEFAULTS, TrainingCLI
from clip_lightning.config import Config, merge
from clip_lightning.files import write_atomically
from clip_lightning.models.cost import model_cost, training_flops

WARM_UP_STEPS, TIMED_STEPS = 3, 12

_OF_THE_MACHINE = ("accelerator", "devices", "num_nodes", "strategy", "precision", "sync_batchnorm")
"""Settings of the trainer that another machine need not be able to meet."""


def main(arguments: Sequence[str]) -> int:
    """Answers one request.

    Args:
        arguments: Paths of the request and of the answer.

    Returns:
        Exit code.
    """
    request = json.loads(Path(arguments[0]).read_text())
    request["seconds_to_import"] = time.time() - psutil.Process().create_time()
    facts: dict[str, Any] = {}
    answer: dict[str, Any] = {"facts": facts}
    for name, config in request["variants"].items():
        try:
            facts[name] = dataclasses.asdict(find_facts(config, request))
        except Exception as error:
            if not is_users_mistake(error):
                raise
            answer = {"error": f"variant {name!r}: {error}"}
            break
    Path(arguments[1]).write_text(json.dumps(answer))
    return 0


def find_facts(config: Config, request: Mapping[str, Any]) -> Facts:
    """Builds a variant, and measures what its steps take where that can be known.

    Args:
        config: Composed configuration.
        request: As the module says.

    Raises:
        UserError: If the configuration is not accepted.
        ValueError: If a part refuses its arguments.
    """
    config = merge(DEFAULTS, config)
    check_keys(config)
    here = config if request["is_here"] else _for_any_machine(config)
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        cli = build_checked({**here, "num_threads": request["threads"]}, Path(folder))
        seconds_to_start = request["seconds_to_import"] + time.monotonic() - began
        facts = _describe(cli, config, request["is_here"])
        if not request["is_here"]:
            return facts
        timings = _timings(cli, facts, Path(request["timings"]), seconds_to_start)
    return dataclasses.replace(facts, **timings)


def _for_any_machine(config: Config) -> Config:
    """The configuration as the CPU of this machine can build it."""
    trainer = {key: value for key, value in config["trainer"].items() if key not in _OF_THE_MACHINE}
    return {**config, "trainer": {**trainer, "accelerator": "cpu"}}


def _describe(cli: TrainingCLI, config: Config, is_here: bool) -> Facts:
    resolved = cli.resolved
    # Threads are the executor's matter, and come with its command.
    resolved["num_threads"] = None
    if not is_here:
        given = {key: value for key, value in config["trainer"].items() if key in _OF_THE_MACHINE}
        resolved["trainer"] = {**resolved["trainer"], "accelerator": "auto", **given}
    task, data, trainer = cli.model, cli.datamodule, cli.trainer
    flops = training_flops(task.model)
    costs = [] if flops is None else model_cost(task.model)
    batches = len(data.train_loader(task, world_size=trainer.world_size))
    parts = trainer.accumulate_grad_batches
    return Facts(
        config=resolved,
        reports=_reports(cli),
        batch_size=data.batch_size * parts,
        steps=_steps(trainer, max(1, batches // parts)),
        steps_per_epoch=max(1, batches // parts),
        parameters=sum(parameter.numel() for parameter in task.model.parameters()),
        image_flops=sum(cost.flops for cost in costs if cost.part.startswith("image")) or None,
        training_flops=None if flops is None else flops(task.tokenizer.context_length),
    )


def _reports(cli: TrainingCLI) -> list[str]:
    """Names of the figures that a run will have in the end."""
    found = []
    pairs = {"val": cli.datamodule.val, "test": cli.datamodule.test}
    for stage, evaluators in cli.part("evaluation").evaluators.items():
        names = [name for evaluator in evaluators for name in evaluator.reports]
        names += cli.model.objective.reports if pairs[stage] is not None else ()
        kinds = KINDS if cli.part("averaging").decay is not None else KINDS[:1]
        found += [f"{named(stage, kind)}/{name}" for kind in kinds for name in names]
    return found


def _steps(trainer: Trainer, steps_per_epoch: int) -> int | None:
    """Optimiser steps that the configuration asks for; None where it says nothing."""
    epochs = trainer.max_epochs or -1
    limits = [trainer.max_steps] if trainer.max_steps > 0 else []
    limits += [epochs * steps_per_epoch] if epochs > 0 else []
    return min(limits, default=None)


def _timings(cli: TrainingCLI, facts: Facts, folder: Path, seconds_to_start: float) -> dict[str, Any]:
    """How long steps and evaluations take: measured once a machine, so that a budget in seconds stays the same."""
    device, threads = cli.trainer.strategy.root_device.type, torch.get_num_threads()
    key = key_of({**facts.config, "trainer": {**facts.config["trainer"], "max_steps": None, "max_epochs": None}})
    path = folder / f"{key}-{platform.node()}-{device}-{threads}.json"
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    found = {**measure(cli), "seconds_to_start": seconds_to_start, "threads": threads}
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(found).encode())
    return found


class StepClock(Callback):
    """Stops a training after some steps, and notes when each one ended."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Notes the time, when the device has done its part."""
        outputs["loss"].item()
        self.times.append(time.monotonic())
        if len(self.times) > (WARM_UP_STEPS + TIMED_STEPS) * trainer.accumulate_grad_batches:
            trainer.should_stop = True


def measure(cli: TrainingCLI) -> dict[str, float]:
    """Trains for some steps and evaluates once, on the device of the configuration; nothing of it is kept.

    Args:
        cli: What was built from the configuration; it cannot be trained afterwards.

    Returns:
        ``seconds_per_step`` and ``seconds_per_evaluation``.
    """
    clock, trainer = StepClock(), cli.trainer
    trainer.callbacks, trainer.loggers, trainer.limit_val_batches = [clock], [], 0  # type: ignore[attr-defined]
    trainer.fit(cli.model, cli.datamodule)
    parts = trainer.accumulate_grad_batches
    spans = [after - before for before, after in zip(clock.times, clock.times[1:], strict=False)]
    # Of an epoch that is shorter than this some steps are better than none.
    spans = spans[WARM_UP_STEPS * parts :] or spans
    trainer.callbacks, trainer.limit_val_batches = [cli.part("evaluation")], 1.0  # type: ignore[attr-defined]
    began = time.monotonic()
    trainer.validate(cli.model, cli.datamodule, verbose=False)
    return {
        "seconds_per_step": median(spans) * parts if spans else 0.0,
        "seconds_per_evaluation": time.monotonic() - began,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
