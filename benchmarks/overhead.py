# .venv/bin/python benchmarks/overhead.py
"""What Lightning, logging and callbacks add to a training step, against a bare PyTorch loop of the same model.

Both train the quickstart's model from the same start on the same batches, in alternating rounds of one process, on one
thread. A step is counted in CPU seconds of the training process, from the end of one step to the end of the next, so
that it includes the loader. Printed are the medians over steps, and the ratio with its range over the rounds. The
second process, which delivers to MLflow at low priority, is not part of a step; its own CPU seconds are printed.
"""

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback
from torch.optim.lr_scheduler import LambdaLR

from clip_lightning.callbacks import Checkpoints, EpochAverages, Progress, RandomStates
from clip_lightning.cli.compose import compose
from clip_lightning.cli.keys import KEYS
from clip_lightning.cli.training import DEFAULTS, build_cli
from clip_lightning.optim import build_optimizer
from clip_lightning.tracking.logger import MLflowTracker

CONFIG = Path(__file__).parents[1] / "configs" / "quickstart.yaml"


class StepTimes(Callback):
    """Notes when each training step has ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *args: Any) -> None:
        """Notes the CPU time."""
        self.ends.append(time.process_time())


def build(run_dir: str, steps: int):
    """The quickstart, for a few steps and without its evaluations."""
    arguments = ["--config", str(CONFIG), "--run_dir", run_dir, "--evaluation.every_n_epochs", "0"]
    arguments += ["--trainer.max_epochs", "1", "--trainer.limit_val_batches", "0"]
    arguments += ["--num_threads", "1"]
    config = compose(arguments, KEYS, DEFAULTS)[0]
    config["data"]["samples_per_epoch"] = steps * config["data"]["batch_size"]
    return build_cli("fit", config)


def lightning_ends(steps: int) -> list[float]:
    """Times at which the steps of ``fit`` ended."""
    with tempfile.TemporaryDirectory() as folder:
        cli = build(folder, steps)
        cli.attach_loggers(Path(folder))
        times = StepTimes()
        cli.trainer.callbacks = [part for part in cli.trainer.callbacks if not isinstance(part, Checkpoints)]
        cli.trainer.callbacks += [RandomStates(), EpochAverages(), Progress("val/loss"), times]
        cli.trainer.fit(cli.model, cli.datamodule)
        for logger in cli.trainer.loggers:
            if isinstance(logger, MLflowTracker):
                logger.close()
        return times.ends


def bare_ends(steps: int) -> list[float]:
    """Times at which the steps of a plain loop ended."""
    with tempfile.TemporaryDirectory() as folder:
        cli = build(folder, steps)
        task, data = cli.model, cli.datamodule
        loader = data.train_loader(task, rank=0, world_size=1)
        optimizer = build_optimizer(task.optimizer, task, fused=True)
        scheduler = LambdaLR(optimizer, lambda step: task.schedule(step, steps))
        task.train()
        ends = []
        for batch in loader:
            optimizer.zero_grad()
            loss = task.objective.reduce(task.model, task.objective.encode(task.model, batch))["loss"]
            loss.backward()
            optimizer.step()
            scheduler.step()
            task.model.cap_logit_scale_()
            ends.append(time.process_time())
        return ends


def median_step(ends: list[float], warmup: int = 5) -> float:
    """Median CPU seconds of a step, without the first ones."""
    return statistics.median(later - earlier for earlier, later in zip(ends[warmup:], ends[warmup + 1 :], strict=False))


def main() -> None:
    """Prints the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60, help="steps in a round")
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds")
    options = parser.parse_args()
    ratios = []
    for round_number in range(options.rounds):
        bare, fit = median_step(bare_ends(options.steps)), median_step(lightning_ends(options.steps))
        ratios.append(fit / bare)
        print(f"round {round_number + 1}: bare {1e3 * bare:.1f} ms, fit {1e3 * fit:.1f} ms, ratio {fit / bare:.3f}")
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"delivery: {(children.ru_utime + children.ru_stime) / options.rounds:.1f} CPU s a run, in its own process")
    print(
        f"overhead: median {statistics.median(ratios) - 1:+.1%}, range {min(ratios) - 1:+.1%} to {max(ratios) - 1:+.1%}"
    )


if __name__ == "__main__":
    main()
