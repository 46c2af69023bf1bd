"""Writes checkpoints from which a run goes on exactly, and keeps the last, the one before it, the best, and every n-th.

A checkpoint holds everything up to a step: the measurements of the step come first. So where an evaluation or the end
of an epoch follows a step, the checkpoint that is due waits for it; Lightning would leave them out of a continued run.
"""

import math
import signal
import time
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn

from clip_lightning.averages import kind_of_metric
from clip_lightning.callbacks.averaging import averages_in
from clip_lightning.callbacks.checkpoint_files import CheckpointFiles, save_rotating
from clip_lightning.callbacks.evaluation import RunEvaluators
from clip_lightning.callbacks.guards import guards_of
from clip_lightning.callbacks.signals import StopSignals, TrainingStopped
from clip_lightning.tracking.logger import MLflowTracker


class Checkpoints(Checkpoint):
    """Writes ``checkpoints/last.ckpt``, and ``checkpoints/best.ckpt`` where it is the best.

    A file appears whole or not at all. The last but one is kept as ``previous.ckpt``, in case a disk damages the last.
    Ctrl-C, SIGTERM and SIGUSR1 are acted on between two steps, with a checkpoint, in all processes at the same step; an
    evaluation that is under way is finished first.

    Args:
        monitor: Metric that decides which checkpoint is best, such as "val/zero_shot/shape_scenes/accuracy"; one that
            begins with "val_ema" makes the averaged weights those that a checkpoint is used with.
        mode: Whether the metric is better when it is larger ("max") or smaller ("min").
        every_n_epochs: Epochs between two checkpoints; 0 for none at the end of epochs. The end of training has one.
        every_n_steps: Optimiser steps between two checkpoints.
        every_n_minutes: Longest time between two checkpoints, in minutes.
        keep_every: Of the checkpoints that these intervals write, every n-th is kept as ``step-00001000.ckpt``.

    Raises:
        ValueError: If an interval is not positive.
    """

    def __init__(
        self,
        monitor: str = "val/loss",
        mode: Literal["max", "min"] = "min",
        every_n_epochs: int = 1,
        every_n_steps: int | None = None,
        every_n_minutes: float | None = None,
        keep_every: int | None = None,
    ) -> None:
        if every_n_epochs < 0:
            raise ValueError(f"checkpoints.every_n_epochs {every_n_epochs} is negative; 0 is none at the end of epochs")
        for name, value in (("steps", every_n_steps), ("minutes", every_n_minutes)):
            if value is not None and value <= 0:
                raise ValueError(f"checkpoints.every_n_{name} {value} must be above 0; null is no such interval")
        if keep_every is not None and keep_every < 1:
            raise ValueError(f"checkpoints.keep_every {keep_every} must be 1 at least; null keeps none")
        self.monitor = monitor
        self.mode = mode
        self.kind = kind_of_metric(monitor)
        """Which weights that is a metric of, "raw" or "averaged": checkpoints are used with these."""
        self.every_n_epochs = every_n_epochs
        self.every_n_steps = every_n_steps
        self.every_n_minutes = every_n_minutes
        self.keep_every = keep_every
        self.best: float | None = None
        """Value of the metric at the best checkpoint."""
        self.signals = StopSignals()
        """Which signal has asked the latest training to stop, if any."""
        self._written = 0
        self._saved_step = -1
        self._stepped = 0
        self._saved_at = 0.0
        self._is_due = self._is_scheduled = self._stops = False
        self._accumulates = self._is_in_epoch = self._should_stop = False
        self._judged: Any = None
        self._trackers: list[MLflowTracker] = []
        self._loaded: tuple[int, int] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Has Lightning write and read checkpoint files as this package does."""
        trainer.strategy.checkpoint_io = CheckpointFiles(
            lambda: {name: mean for part in averages_in(trainer) for name, mean in part.by_name.items()},
            self.kind,
            trains=stage == "fit",
        )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Voids what an earlier try recorded after the checkpoint that this run goes on from, or all of it."""
        self._trackers = [logger for logger in trainer.loggers if isinstance(logger, MLflowTracker)]
        step, journal_end = self._loaded or (0, 0)
        self._loaded = None
        for tracker in self._trackers:
            if tracker.journal_end:
                tracker.rewind(step, journal_end)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listens to signals, and goes on rightly where an epoch, or all of the training, had ended."""
        if trainer.fit_loop.restarted_on_epoch_end:
            _begin_next_epoch(trainer)
        # Lightning forgets that an early stopping has ended the training.
        trainer.should_stop = trainer.should_stop or self._should_stop
        self.signals = StopSignals()
        self.signals.listen()
        self._stops = self._is_due = self._is_scheduled = False
        self._saved_at, self._stepped = time.monotonic(), trainer.global_step
        self._saved_step = trainer.global_step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Stops, if that was asked for and the checkpoint is written."""
        self._stop(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves after an optimiser step that is due, unless more measurements of this step follow."""
        self._is_in_epoch, self._accumulates = True, trainer.global_step == self._stepped
        if self._accumulates:
            return
        self._stepped = trainer.global_step
        # While steps are left out, something may be wrong with the weights; the files from before stay.
        by_step = self._is_due_by_step(trainer) and not _is_skipping(trainer)
        self._is_scheduled = self._is_scheduled or by_step
        self._is_due = self._is_asked_to_stop(trainer) or self._is_scheduled
        if not _is_last_of_epoch(trainer) and not _validation_follows(trainer):
            self._save(trainer, measured=_has_measured(trainer))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves after a validation in the middle of an epoch."""
        if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking and not _is_last_of_epoch(trainer):
            self._save(trainer, measured=True)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves at the end of an epoch."""
        by_epoch = self.every_n_epochs > 0 and (trainer.current_epoch + 1) % self.every_n_epochs == 0
        self._is_scheduled = self._is_scheduled or by_epoch
        # A signal may have come while the epoch was evaluated.
        self._is_due = self._is_asked_to_stop(trainer) or self._is_scheduled
        self._is_in_epoch = False
        self._save(trainer, measured=True)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops, if that was asked for at the end of the last epoch."""
        self._stop(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the end of training, and makes sure that the metric was measured.

        Raises:
            ValueError: If nothing has reported it.
        """
        if trainer.global_step > self._saved_step:
            self._is_due = True
            self._save(trainer, measured=False)
        self._is_asked_to_stop(trainer)
        self._stop(trainer)
        if self.best is None and trainer.global_step > 0:
            known = sorted(name for name in trainer.callback_metrics if not name.startswith("train/"))
            raise ValueError(f"checkpoints.monitor {self.monitor!r} is reported by nothing; there are {known}")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Listens no more."""
        self.signals.release()

    def _is_due_by_step(self, trainer: Trainer) -> bool:
        """Whether the steps or the clock ask for a checkpoint; the same in all processes."""
        by_steps = self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0
        by_time = False
        if self.every_n_minutes is not None:
            by_time = _in_any_process(trainer, time.monotonic() - self._saved_at >= 60 * self.every_n_minutes)
        return by_steps or by_time

    def _is_asked_to_stop(self, trainer: Trainer) -> bool:
        """Whether a signal has come; it may reach one process only, or one of them a step later."""
        self._stops = _in_any_process(trainer, self.signals.received is not None)
        return self._stops

    def _save(self, trainer: Trainer, *, measured: bool) -> None:
        """Writes a checkpoint if one is due, or if the metric that was measured at this step is the best so far."""
        is_best = measured and self._is_best(trainer)
        folder = Path(trainer.default_root_dir) / "checkpoints"
        if self._accumulates:
            # The weights are those that were measured, but a run cannot go on from here without the gradients so far.
            if is_best:
                trainer.save_checkpoint(folder / "best.ckpt", weights_only=True)
            return
        if not (self._is_due or is_best):
            return
        # Those at the end or after a signal do not count: that would shift which ones a continued run keeps.
        self._written += self._is_scheduled
        is_kept = self._is_scheduled and self.keep_every is not None and self._written % self.keep_every == 0
        self._should_stop = trainer.should_stop
        names = [name for name, wanted in (("best", is_best), (f"step-{trainer.global_step:08}", is_kept)) if wanted]
        self._record_step(trainer)
        save_rotating(trainer, folder, names)
        self._is_due = self._is_scheduled = False
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()

    def _is_best(self, trainer: Trainer) -> bool:
        """Whether the metric was measured since the last time, and has never been better."""
        value = trainer.callback_metrics.get(self.monitor)
        if value is None or value is self._judged:  # of an earlier step
            return False
        self._judged = value
        if not self._is_better(float(value)):
            return False
        self.best = float(value)
        return True

    def _record_step(self, trainer: Trainer) -> None:
        """Has the journal hold what the step reported; Lightning hands it on only after the checkpoint."""
        if not (self._trackers and self._is_in_epoch and trainer.training):
            return
        connector, loop = trainer._logger_connector, trainer.fit_loop.epoch_loop
        if connector.should_update_logs:
            values = {name: float(value) for name, value in connector.metrics["log"].items()}
            for tracker in self._trackers:
                tracker.log_metrics(values, loop._batches_that_stepped)

    def _stop(self, trainer: Trainer) -> None:
        """Ends the training after a signal.

        Raises:
            TrainingStopped: If a signal has asked for it.
        """
        if self._stops:
            # A process that the signal did not reach itself stops for the sake of the others.
            raise TrainingStopped(self.signals.received or signal.SIGTERM, trainer.global_step)

    def _is_better(self, value: float) -> bool:
        """Whether a value beats the best one so far; anything beats none, and NaN."""
        if self.best is None or math.isnan(self.best):
            return True
        return value > self.best if self.mode == "max" else value < self.best

    def state_dict(self) -> dict[str, Any]:
        """What a continued run needs to know."""
        return {
            "monitor": self.monitor,
            "best": self.best,
            "written": self._written,
            "step": self._stepped,
            "should_stop": self._should_stop,
            "journal_end": max((tracker.journal_end for tracker in self._trackers), default=0),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remembers the best value, if it was one of the same metric, and where the journal ended."""
        if state_dict["monitor"] == self.monitor:
            self.best = state_dict["best"]
        self._written = state_dict["written"]
        self._should_stop = state_dict["should_stop"]
        self._loaded = (state_dict["step"], state_dict["journal_end"])


def _begin_next_epoch(trainer: Trainer) -> None:
    """Has Lightning take an epoch that is done for done.

    With ``max_steps`` it would train on the next epoch's first batch as one more of the epoch before.
    """
    loop = trainer.fit_loop
    loop.epoch_progress.increment_completed()
    loop._restarting = loop.epoch_loop.restarting = False
    loop.reset_restart_stage()
    loop.epoch_loop.reset_restart_stage()


def _in_any_process(trainer: Trainer, decision: bool) -> bool:
    """The decision of all processes together: yes if one of them says yes."""
    if trainer.world_size == 1:
        return decision
    return bool(trainer.strategy.reduce_boolean_decision(decision, all=False))


def _has_measured(trainer: Trainer) -> bool:
    """Whether an evaluation has just been made after this optimiser step."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return any(isinstance(part, RunEvaluators) and part.measured_step == trainer.global_step for part in callbacks)


def _is_skipping(trainer: Trainer) -> bool:
    """Whether the optimiser step that was due last has been left out."""
    guards = guards_of(trainer)
    return guards is not None and guards.is_skipping


def _is_last_of_epoch(trainer: Trainer) -> bool:
    """Whether the epoch ends with the batch that was just trained on."""
    loop = trainer.fit_loop.epoch_loop
    return loop.batch_progress.is_last_batch or loop._is_training_done


def _validation_follows(trainer: Trainer) -> bool:
    """Whether Lightning validates after the batch that was just trained on."""
    loop = trainer.fit_loop
    assert loop._data_fetcher is not None
    return loop.epoch_loop._should_check_val_fx(loop._data_fetcher)
