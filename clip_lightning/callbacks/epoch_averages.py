"""Reports averages over an epoch that an interruption does not change."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torchmetrics import MeanMetric


class EpochAverages(Callback):
    """Logs ``train/loss_epoch``, the mean loss of an epoch's batches, at its end; one that is not finite is left out.

    Lightning's own average begins anew where a run goes on in the middle of an epoch; this one is in the checkpoint.
    """

    def __init__(self) -> None:
        # The objective's loss is the same in all processes already.
        self.loss = MeanMetric(nan_strategy="disable", sync_on_compute=False)
        self.loss.persistent(True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Moves to the device of training, where no value has to wait for another."""
        self.loss.to(pl_module.device)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Adds a batch."""
        # Lightning divides the loss for the gradients that it accumulates.
        loss = outputs["loss"] * trainer.accumulate_grad_batches
        self.loss.update(loss.nan_to_num(), weight=torch.isfinite(loss).float())

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the average and begins the next."""
        if self.loss.weight > 0:
            value = {"train/loss_epoch": float(self.loss.compute())}
            trainer.callback_metrics.update({name: torch.tensor(number) for name, number in value.items()})
            for logger in trainer.loggers:
                logger.log_metrics(value, step=trainer.global_step)
        self.loss.reset()

    def state_dict(self) -> dict[str, Any]:
        """The sums so far."""
        return {"loss": dict(self.loss.state_dict())}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on with the sums of the checkpoint."""
        self.loss.load_state_dict(state_dict["loss"])
