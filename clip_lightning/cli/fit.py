"""``fit``: trains, evaluates each epoch, keeps the best checkpoint, and draws what was learned."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.utilities import rank_zero_only

from clip_lightning.averages import KINDS, named
from clip_lightning.callbacks import (
    BatchStatistics,
    Damage,
    EpochAverages,
    GradientNoise,
    Health,
    Pictures,
    Progress,
    RandomStates,
    Throughput,
    TrainingFailed,
    TrainingStopped,
    stopping_at_once,
)
from clip_lightning.checkpoint import read_checkpoint
from clip_lightning.cli.announcement import announce
from clip_lightning.cli.checks import build_checked, check_duration
from clip_lightning.cli.compose import compose
from clip_lightning.cli.continuation import conclude_failure, conclude_stop, find_checkpoint, how_to_continue
from clip_lightning.cli.devices import own_cpus
from clip_lightning.cli.errors import UserError
from clip_lightning.cli.keys import KEYS, check_keys
from clip_lightning.cli.memory import told_of_memory
from clip_lightning.cli.start import start_of
from clip_lightning.cli.training import DEFAULTS, TrainingCLI, show_help
from clip_lightning.config import Config, to_yaml
from clip_lightning.files import write_atomically
from clip_lightning.models.cost import training_flops
from clip_lightning.models.peak import arithmetic_of, peak_flops
from clip_lightning.results import format_table
from clip_lightning.tracking.provenance import add_start
from clip_lightning.tracking.run_folder import RunFolder

RUN_DIR_VARIABLE = "CLIP_LIGHTNING_RUN_DIR"
"""Tells the processes that a strategy starts, which run this command line again, where the first one writes."""


def main(arguments: Sequence[str]) -> int:
    """Trains one model.

    Args:
        arguments: Command line after the verb.

    Returns:
        Exit code.
    """
    config, rest = compose(arguments, KEYS, DEFAULTS)
    if rest:
        return show_help("fit", config, rest)
    check_keys(config)
    check_duration(config)
    folder = open_run_folder(config)
    with stopping_at_once():
        try:
            run(config, folder, arguments)
        except TrainingStopped as stop:
            return conclude_stop(stop, folder, arguments)
        except TrainingFailed as failure:
            return conclude_failure(failure)
    return 0


def run(config: Config, folder: RunFolder, arguments: Sequence[str]) -> None:
    """Builds everything, and trains where the folder is free and belongs to this configuration.

    Args:
        config: Composed configuration.
        folder: The run's folder.
        arguments: Command line after the verb, for the record.
    """
    try:
        cli = build_checked(config, folder.path)
        checkpoint = find_checkpoint(folder, cli.resolved)
        if checkpoint is None:
            cli.model.start_from_weights()
    except BaseException:
        # A run that could not begin leaves no folder behind; one that has something in it stays.
        with contextlib.suppress(OSError):
            folder.path.rmdir()
        raise
    # Of all processes of a run, the first one has the folder.
    with folder.claimed() if cli.trainer.is_global_zero else contextlib.nullcontext(), telling_processes(folder):
        if cli.trainer.is_global_zero:
            write_atomically(folder.config, to_yaml(cli.resolved).encode())
        try:
            fit(cli, folder, arguments, checkpoint)
        except (TrainingStopped, KeyboardInterrupt, SystemExit) as stop:
            # Lightning turns Ctrl-C into an exit, after it has stopped its processes.
            is_turned = isinstance(stop, SystemExit)
            if is_turned and not isinstance(stop.__context__, KeyboardInterrupt):
                raise
            for tracker in cli.trackers:
                tracker.finalize("aborted")
            if is_turned:
                raise KeyboardInterrupt(how_to_continue(folder, arguments)) from None
            raise


def open_run_folder(config: Config) -> RunFolder:
    """The folder that the configuration names, or a new one; the same for all processes of a run."""
    given = os.environ.get(RUN_DIR_VARIABLE) if "LOCAL_RANK" in os.environ else None
    given = given or config.get("run_dir")
    new = given is None
    if new and _processes() > 1:
        raise UserError(
            f"a launcher has started {_processes()} processes, which agree on a folder only if it is named; give "
            "--run_dir, by which the same command also continues the run"
        )
    return RunFolder.create(str(config.get("name") or "run")) if new else RunFolder.open(Path(str(given)))


@contextlib.contextmanager
def telling_processes(folder: RunFolder) -> Iterator[None]:
    """Tells the processes that start meanwhile where the run writes; a later run in this process has its own folder."""
    os.environ[RUN_DIR_VARIABLE] = str(folder.path)
    try:
        yield
    finally:
        os.environ.pop(RUN_DIR_VARIABLE, None)


def _processes() -> int:
    """How many processes torchrun or SLURM has started for this run; 1 where it starts them itself."""
    if TorchElasticEnvironment.detect():
        return int(os.environ["WORLD_SIZE"])
    return int(os.environ["SLURM_NTASKS"]) if SLURMEnvironment.detect() else 1


def fit(cli: TrainingCLI, folder: RunFolder, arguments: Sequence[str], checkpoint: Path | None) -> None:
    """Trains, evaluates the best checkpoint, and writes and prints the results.

    Args:
        cli: What was built from the configuration.
        folder: The run's folder.
        arguments: Command line after the verb, for the record.
        checkpoint: Where to continue from; None at the beginning.
    """
    trainer, task, data = cli.trainer, cli.model, cli.datamodule
    monitor, evaluation = cli.config.checkpoints.monitor, cli.part("evaluation")
    task.config = cli.resolved
    evaluation.results_path = folder.results
    cli.attach_loggers(folder.path)
    noise = GradientNoise(data.batch_size * trainer.accumulate_grad_batches)
    for callback in (BatchStatistics(), RandomStates(), EpochAverages(), Damage(), noise, Health(), Progress(monitor)):
        cli.add_callback(callback)
    cli.add_callback(throughput(cli))
    record(cli, folder, arguments)
    announce(cli, folder, checkpoint)
    with told_of_memory(cli):
        trainer.fit(task, data, ckpt_path=checkpoint)
    if (number := cli.part("checkpoints").signals.received) is not None:  # it came when all steps were done
        raise TrainingStopped(number, trainer.global_step)
    # The last epoch need not be the best one: what is reported is the checkpoint that is kept.
    best = folder.checkpoints / "best.ckpt"
    task.take_weights(read_checkpoint(best), best)
    evaluation.results.clear()
    # Measured again, not measured later: the curves end with training.
    loggers, trainer.loggers = trainer.loggers, []
    try:
        trainer.validate(task, data, verbose=False)
    finally:
        trainer.loggers = loggers
    cli.add_callback(Pictures(evaluation, data.test or data.val, curves_of(cli), cli.config.name))
    trainer.test(task, data, verbose=False)
    conclude(cli, folder)


def throughput(cli: TrainingCLI) -> Throughput:
    """What tells of the speed; the model's operations are counted where the device's peak is known."""
    trainer = cli.trainer
    peak = peak_flops(trainer.strategy.root_device, arithmetic_of(str(trainer.precision)))
    flops = None if peak is None else training_flops(cli.model.model)
    return Throughput(cli.datamodule.num_workers, own_cpus(trainer.num_devices), cli.config.compile, peak, flops)


def record(cli: TrainingCLI, folder: RunFolder, arguments: Sequence[str]) -> None:
    """Writes down where the run comes from, in its folder and for the tracker."""
    if not cli.trainer.is_global_zero:
        return
    start = start_of(cli, arguments)
    add_start(folder.provenance, start)
    if start["git"]:
        commit = start["git"]["commit"] + ("-dirty" if start["git"]["dirty"] else "")
        for tracker in cli.trackers:
            tracker.log_tags({"mlflow.source.git.commit": commit})
    for logger in cli.trainer.loggers:
        logger.log_hyperparams({**cli.resolved, "data_fingerprint": start["fingerprints"]})
    log_artifacts(cli, [folder.config, folder.provenance])


def log_artifacts(cli: TrainingCLI, paths: Sequence[Path]) -> None:
    """Hands files to the trackers that keep files."""
    for logger in cli.trackers:
        for path in paths:
            logger.log_artifact(path)


def curves_of(cli: TrainingCLI) -> list[str]:
    """What the figure shows over the steps: the losses, and the accuracies on the validation sets."""
    results = [row for rows in cli.part("evaluation").results.values() for row in rows]
    names = ["loss", *(row.name.partition("/")[2] for row in results if row.metric == "accuracy")]
    return ["train/loss", *(f"{named('val', kind)}/{name}" for name in names for kind in KINDS)]


@rank_zero_only
def conclude(cli: TrainingCLI, folder: RunFolder) -> None:
    """Prints the results, and hands over the files that hold them."""
    results = [row for rows in cli.part("evaluation").results.values() for row in rows]
    log_artifacts(cli, [path for path in (folder.results, folder.path / "overview.png") if path.exists()])
    for logger in cli.trainer.loggers:
        logger.finalize("success")
    print(f"\n{format_table(results)}\n")
    print(f"figure      {folder.path / 'overview.png'}")
    print(folder.path)
