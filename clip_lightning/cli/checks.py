"""What a training refuses before it begins, rather than hours later."""

from pathlib import Path

from clip_lightning.averages import named
from clip_lightning.cli.errors import UserError
from clip_lightning.cli.keys import value_at
from clip_lightning.cli.training import TrainingCLI, build_cli
from clip_lightning.config import Config
from clip_lightning.optim import check_rounding
from clip_lightning.results import counted


def build_checked(config: Config, run_dir: Path) -> TrainingCLI:
    """Builds everything, and refuses what would fail later on.

    Args:
        config: Composed configuration.
        run_dir: The run's folder.

    Raises:
        UserError: If the configuration is not accepted.
        ValueError: If parts do not fit each other.
    """
    cli = build_cli("fit", {**config, "run_dir": str(run_dir)})
    cli.datamodule.train_loader(cli.model, world_size=cli.trainer.world_size)
    check_monitor(cli)
    check_micro_batch(cli)
    if cli.trainer.precision == "bf16-true":
        check_rounding("trainer.precision bf16-true", cli.model.optimizer)
    cli.part("averaging").check_strategy(cli.trainer)
    cli.model.make_optimizer(fused=False)
    return cli


def check_duration(config: Config) -> None:
    """Refuses a configuration that does not say how long to train.

    Raises:
        UserError: If neither epochs nor steps are limited, on which the schedule of the learning rate depends.
    """
    limits = [value_at(config, f"trainer.{limit}") for limit in ("max_epochs", "max_steps", "fast_dev_run")]
    if not any(limit not in (None, -1, 0, False) for limit in limits):
        raise UserError("nothing says how long to train; give --trainer.max_epochs or --trainer.max_steps, 1 or more")


def check_monitor(cli: TrainingCLI) -> None:
    """Refuses a metric for the best checkpoint that nothing will report.

    Raises:
        UserError: With the names that there will be.
    """
    scores = [f"val/{name}" for evaluator in cli.part("evaluation").evaluators["val"] for name in evaluator.reports]
    losses = [] if cli.datamodule.val is None else [f"val/{name}" for name in cli.model.objective.reports]
    averaged = [name.replace("val", named("val", "averaged"), 1) for name in scores + losses]
    monitor = cli.config.checkpoints.monitor
    if monitor in averaged and cli.part("averaging").decay is None:
        raise UserError(f"checkpoints.monitor {monitor!r} is of averaged weights; give, say, --averaging.decay 0.999")
    if monitor in scores + losses + averaged:
        return
    message = (
        f"checkpoints.monitor {monitor!r} is reported by nothing; there are: {', '.join(scores + losses) or 'none'}"
    )
    if scores:
        raise UserError(f"{message}; give, say, --checkpoints.monitor {scores[0]} --checkpoints.mode max")
    raise UserError(f"{message}; give validation pairs by data.val, or an evaluator by evaluation.val")


def check_micro_batch(cli: TrainingCLI) -> None:
    """Refuses to divide a batch into parts that are larger than it.

    Raises:
        UserError: With both sizes.
    """
    size, batch_size, processes = cli.model.micro_batch_size, cli.datamodule.batch_size, cli.trainer.world_size
    own = batch_size // processes
    if size is not None and size > own:
        raise UserError(
            f"model.micro_batch_size {size} is larger than the {own} pairs of a process (data.batch_size {batch_size}, "
            f"{counted(processes, 'process')}); give {own} or less"
        )
