"""Whether a run begins or goes on, and what is said and done when it is stopped before its end."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.utilities import rank_zero_only

from clip_lightning.callbacks import TrainingFailed, TrainingStopped
from clip_lightning.checkpoint import KEY, check_continuable, read_checkpoint
from clip_lightning.cli.errors import UserError
from clip_lightning.cli.keys import value_at
from clip_lightning.config import Config, differing_keys, read_config
from clip_lightning.tracking.run_folder import RunFolder

WITHOUT_EFFECT = (
    "name",
    "num_threads",
    "matmul_precision",
    "compile",
    "checkpoints.every_n",
    "checkpoints.keep_every",
    "data.num_workers",
    "evaluation.num_workers",
    "evaluation.batch_size",
    "model.micro_batch_size",
    "guards",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.enable_",
    "trainer.log_every_n_steps",
    "trainer.strategy",
    "trainer.logger",
)
"""What may change when a run goes on: it does not enter the result, but for rounding."""


def find_checkpoint(folder: RunFolder, resolved: Config) -> Path | None:
    """Decides whether a run begins or goes on.

    Args:
        folder: The run's folder.
        resolved: The run's configuration.

    Returns:
        The checkpoint to go on from, the one before the last if that is damaged; None at the beginning.

    Raises:
        UserError: If the folder holds a run of another configuration, or no checkpoint of it can be read.
    """
    checkpoint, path = _latest_readable(folder)
    stored = checkpoint[KEY].get("config") if checkpoint else None
    if stored is None and folder.config.exists():
        stored = read_config(folder.config)
    stored = stored or resolved
    differing = [key for key in differing_keys(stored, resolved) if not key.startswith(WITHOUT_EFFECT)]
    if differing:
        values = [f"{key} ({value_at(stored, key)!r}, now {value_at(resolved, key)!r})" for key in differing[:10]]
        more = f" and {len(differing) - 10} more" if len(differing) > 10 else ""
        raise UserError(
            f"{folder.path} holds a run whose configuration differs in {', '.join(values)}{more}; give another "
            "--run_dir, or the same configuration to continue it; to start from its weights, give --model.weights"
        )
    return path


def _latest_readable(folder: RunFolder) -> tuple[dict[str, Any] | None, Path | None]:
    """The latest checkpoint that is whole, and its path; nothing where there are none."""
    last, previous, best = (folder.checkpoints / f"{name}.ckpt" for name in ("last", "previous", "best"))
    kept = sorted(folder.checkpoints.glob("step-*.ckpt"), reverse=True)
    there = [path for path in (last, previous, *kept, best) if path.exists()]
    if there == [best] and "optimizer_states" not in read_checkpoint(best):
        return None, None  # weights that were measured before the first checkpoint
    faults = [] if not there or there[0] == last else [f"{last} is missing"]
    for path in there:
        try:
            checkpoint = read_checkpoint(path)
            check_continuable(checkpoint, path)
        except ValueError as error:
            faults.append(str(error))
        else:
            for fault in faults:
                _say(f"{fault}; going on from {path}")
            return checkpoint, path
    if faults:
        raise UserError(
            f"{'; '.join(faults)}; give another --run_dir, or move {folder.checkpoints} away to begin again"
        )
    return None, None


def how_to_continue(
    folder: RunFolder, arguments: Sequence[str], step: int | None = None, reason: str = "interrupted"
) -> str:
    """What to say when a run is stopped.

    Args:
        folder: The run's folder.
        arguments: Command line after the verb.
        step: Optimiser steps done, if it was in the training.
        reason: What has stopped it.
    """
    given = shlex.join(arguments)
    if "--run_dir" not in given:
        given += f" --run_dir {shlex.quote(str(folder.path))}"
    saved = (folder.checkpoints / "last.ckpt").exists()
    kept = "go on from its last checkpoint" if saved else "no checkpoint was written; begin again"
    place = "" if step is None else f" at step {step:,}"
    return f"{reason}{place}; {kept} with: python -m clip_lightning fit {given}"


def conclude_stop(stop: TrainingStopped, folder: RunFolder, arguments: Sequence[str]) -> int:
    """Says how to go on after a signal, and has SLURM do that if the signal was its warning.

    Args:
        stop: What has ended the training.
        folder: The run's folder.
        arguments: Command line after the verb.

    Returns:
        The exit code: 128 and the number of the signal; 0 in a process that Lightning started beside the first one,
        which would take any other code for a crash and kill the rest.
    """
    if getattr(rank_zero_only, "rank", 0) == 0:
        name = signal.Signals(stop.number).name
        reason = "interrupted" if stop.number == signal.SIGINT else f"stopped by {name}"
        _say(how_to_continue(folder, arguments, stop.step, reason))
        if stop.number == signal.SIGUSR1:
            _requeue(arguments)
    elif _is_started_by_lightning():
        return 0
    return 128 + stop.number


def conclude_failure(failure: TrainingFailed) -> int:
    """Says why a training could not go on, once for all processes.

    Args:
        failure: What has ended the training, in all processes at the same step.

    Returns:
        The exit code: 2; 0 in a process that Lightning started beside the first one, as after a signal.
    """
    if getattr(rank_zero_only, "rank", 0) == 0:
        _say(str(failure))
    elif _is_started_by_lightning():
        return 0
    return 2


def _is_started_by_lightning() -> bool:
    """Whether this process, if it is not the first one, was started by that, which watches how it ends."""
    return not (TorchElasticEnvironment.detect() or SLURMEnvironment.detect())


def _requeue(arguments: Sequence[str]) -> None:
    """Asks SLURM to run this job's script again, if it will then find the run."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or (scontrol := shutil.which("scontrol")) is None:
        return
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array and task else job
    if not any(argument.partition("=")[0] == "--run_dir" for argument in arguments):
        _say(f"job {job} is not requeued: without --run_dir it would not find the run")
        return
    answer = subprocess.run([scontrol, "requeue", job], capture_output=True, text=True, check=False)
    failed = answer.returncode != 0
    _say(f"job {job} is not requeued: {answer.stderr.strip()}" if failed else f"job {job} is requeued")


def _say(line: str) -> None:
    print(f"clip_lightning fit: {line}", file=sys.stderr, flush=True)
