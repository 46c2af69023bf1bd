"""Runs evaluators while a model trains, and when it is validated or tested."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from clip_lightning.averages import named
from clip_lightning.callbacks.averaging import averages_in
from clip_lightning.data import CenterCrop
from clip_lightning.evaluation import Evaluator
from clip_lightning.inference import ImagePass, LiveContext
from clip_lightning.results import Result, write_results
from clip_lightning.sharding import whole


class RunEvaluators(Callback):
    """Measures the model on labelled data at the end of epochs, every n steps, and on ``validate`` and ``test``.

    The results are logged as ``<stage>/<evaluator>/<dataset>/<metric>``, so that the best checkpoint can be chosen by
    one of them. Averaged weights, where there are any, are measured at the same moments as ``<stage>_ema/...``.

    Args:
        val: What to measure while training, and on ``validate``.
        test: What to measure on ``test``, once, with the best checkpoint.
        every_n_epochs: Epochs between two measurements; 0 for none at the end of epochs.
        every_n_steps: Optimiser steps between two measurements, beside those of the epochs.
        before_training: Whether to measure the untrained model too.
        batch_size: Images in one forward pass, on each process.
        num_workers: Processes that decode images; 0 decodes in the training process.

    Raises:
        ValueError: If an interval is negative, or two evaluators would log under one name.
    """

    def __init__(
        self,
        val: list[Evaluator] = [],  # noqa: B006  (not changed; a union would hide the messages of its members)
        test: list[Evaluator] = [],  # noqa: B006
        every_n_epochs: int = 1,
        every_n_steps: int | None = None,
        before_training: bool = False,
        batch_size: int = 256,
        num_workers: int = 0,
    ) -> None:
        if every_n_epochs < 0 or (every_n_steps is not None and every_n_steps < 1):
            raise ValueError(f"every_n_epochs {every_n_epochs} and every_n_steps {every_n_steps} must be positive")
        self.evaluators = {"val": val, "test": test}
        self.every_n_epochs = every_n_epochs
        self.every_n_steps = every_n_steps
        self.before_training = before_training
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.results: dict[str, list[Result]] = {}
        """The latest results of each stage and kind of weights, their names beginning with it."""
        self.collected: list[tuple[Evaluator, Any]] = []
        """What each evaluator collected in the latest measurement, on every process."""
        self.results_path: Path | None = None
        """Where to write the results, if anywhere."""
        self.measured_step = 0
        """Optimiser steps done at the latest measurement."""
        for evaluators in self.evaluators.values():
            _check_prefixes(evaluators)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measures the untrained model, if asked."""
        if self.before_training and trainer.global_step == 0:
            self._run("val", trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measures after every n optimiser steps."""
        # With accumulated gradients several batches end at one step.
        is_new = trainer.global_step > self.measured_step
        if self.every_n_steps and is_new and trainer.global_step % self.every_n_steps == 0:
            self._run("val", trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measures at the end of an epoch."""
        is_due = self.every_n_epochs > 0 and (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if is_due and trainer.global_step > self.measured_step:
            self._run("val", trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measures when validation is all that was asked for."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._run("val", trainer, pl_module)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measures on the test sets."""
        self._run("test", trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """When it last measured, so that a continued run does not do it again."""
        return {"measured_step": self.measured_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remembers when an earlier part of the run last measured."""
        self.measured_step = state_dict["measured_step"]

    def _run(self, stage: str, trainer: Trainer, task: Any) -> None:
        """Measures the weights that the task holds, and the averages of those that are being trained."""
        if not self.evaluators[stage]:
            return
        self._report(stage, trainer, task)
        for averages in averages_in(trainer):
            with averages.applied(task):
                self._report(stage, trainer, task)
        self.measured_step = trainer.global_step
        if self.results_path and trainer.is_global_zero:
            write_results(self.results_path, [result for rows in self.results.values() for result in rows])

    def _report(self, stage: str, trainer: Trainer, task: Any) -> None:
        results = trainer.strategy.broadcast(self._measure(self.evaluators[stage], trainer, task))
        prefix = named(stage, task.holds)
        rows = [dataclasses.replace(result, name=f"{prefix}/{result.name}") for result in results]
        self.results[prefix] = rows
        self._log({row.name: row.value for row in rows}, trainer)

    def _log(self, values: dict[str, float], trainer: Trainer) -> None:
        """Hands the values on as they are; ``LightningModule.log`` would average the rounds of an epoch."""
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in values.items()})
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)

    def _measure(self, evaluators: list[Evaluator], trainer: Trainer, task: Any) -> list[Result]:
        """Results on the first process; the others take part in collecting and return nothing."""
        was_training = task.training
        task.eval()
        with torch.no_grad(), whole(task), trainer.precision_plugin.forward_context():
            how = ImagePass(task.model, CenterCrop.of(task.model.pixels), self.batch_size, self.num_workers)
            context = LiveContext(task.scorer(), how)
            self.collected = [(evaluator, evaluator.collect(context)) for evaluator in evaluators]
        task.train(was_training)
        if not trainer.is_global_zero:
            return []
        return [result for evaluator, data in self.collected for result in evaluator.compute(data)]


def _check_prefixes(evaluators: list[Evaluator]) -> None:
    prefixes = [evaluator.prefix for evaluator in evaluators]
    repeated = sorted({prefix for prefix in prefixes if prefixes.count(prefix) > 1})
    if repeated:
        raise ValueError(f"two evaluators report {repeated[0]!r}; give one of them another name")
