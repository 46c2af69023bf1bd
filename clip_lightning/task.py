"""CLIPTask, the LightningModule: connects the model, what it learns, and how it is optimised."""

import contextlib
import functools
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, Self

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from clip_lightning.averages import kind_of, named
from clip_lightning.batch import Batch
from clip_lightning.checkpoint import build_described, load_weights, read_checkpoint, write_description
from clip_lightning.interchange import start_from
from clip_lightning.models import CLIP, ImageEncoder, LoRA, TextEncoder, TowerTuning
from clip_lightning.models.lora import without_adapters
from clip_lightning.models.tuning import learning_rate_factors, prepare
from clip_lightning.objectives import Contrastive, Objective, Scorer, encode_in_micro_batches
from clip_lightning.objectives.embedding_statistics import embedding_statistics
from clip_lightning.optim import (
    PAPER_ADAMW,
    OptimizerCallable,
    Schedule,
    WarmupCosine,
    build_optimizer,
    check_rounding,
)
from clip_lightning.sharding import shard, whole
from clip_lightning.spec import HasSpec, build
from clip_lightning.text import Tokenizer

_WHOLE = TowerTuning()


class CLIPTask(LightningModule, HasSpec):
    """Trains an image encoder and a text encoder into one space.

    Args:
        image_encoder: The image tower.
        text_encoder: The text tower.
        tokenizer: Turns captions into the text tower's ids; it belongs to the model, and the data use it.
        objective: What is learned; CLIP's symmetric contrastive loss by default.
        embed_dim: Size of the shared space; the image encoder's output where it is not projected.
        image_projection: What projects the image tower's output: True for a linear layer, "mlp" for two with a GELU
            between, False for none. The paper's ResNets project inside their attention pool already.
        optimizer: Optimiser class with its settings; the paper's AdamW for Vision Transformers by default.
        schedule: Learning rate over training, by optimiser step; the paper's warm-up and cosine by default.
        weights: What training starts from: a checkpoint of a run, or any weights that ``clip_lightning.load`` reads.
            Position embeddings are interpolated to the encoders' sizes, and adapters merged. The optimiser and the data
            begin anew; to continue a run is something else: ``fit`` in its run folder.
        image_tuning: What of the image tower is trained, how fast, and with how much memory.
        text_tuning: The same of the text tower.
        image_lora: Adapters of the image tower, which are then all that is trained of it.
        text_lora: Adapters of the text tower.
        micro_batch_size: Pairs that a process encodes at once, at most. A batch of any size then needs the memory of so
            many, and its step is still that of the whole batch. None: the batch at once.

    Raises:
        ValueError: If the parts do not fit each other, or ``micro_batch_size`` is below 1.
    """

    def __init__(
        self,
        image_encoder: ImageEncoder,
        text_encoder: TextEncoder,
        tokenizer: Tokenizer,
        objective: Objective | None = None,
        embed_dim: int | None = None,
        image_projection: bool | Literal["mlp"] = True,
        optimizer: OptimizerCallable | None = None,
        schedule: Schedule | None = None,
        weights: str | None = None,
        image_tuning: TowerTuning = _WHOLE,
        text_tuning: TowerTuning = _WHOLE,
        image_lora: LoRA | None = None,
        text_lora: LoRA | None = None,
        micro_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        if micro_batch_size is not None and micro_batch_size < 1:
            raise ValueError(f"micro_batch_size {micro_batch_size} must be 1 at least; null encodes the batch at once")
        _check_vocabulary(tokenizer, text_encoder)
        self._tuned = (image_encoder, image_tuning), (text_encoder, text_tuning)
        for tower, tuning in self._tuned:
            prepare(tower, tuning)
        self.model = CLIP(image_encoder, text_encoder, embed_dim, image_projection, image_lora, text_lora)
        self.tokenizer = tokenizer
        self.objective = objective or Contrastive()
        self.objective.setup(self.model)
        _freeze_what_is_not_trained(self.model, self.objective)
        self.train()
        self.optimizer = optimizer or PAPER_ADAMW
        if text_tuning.half_precision and any(parameter.requires_grad for parameter in text_encoder.parameters()):
            check_rounding("text_tuning.half_precision true", self.optimizer)
        self.schedule = schedule or WarmupCosine()
        self.weights = weights
        self.micro_batch_size = micro_batch_size
        self._has_started = False
        self.holds = "raw"
        """Which weights it holds at the moment, "raw" or "averaged"; metrics are named by it."""
        self._held = contextlib.ExitStack()
        self.config: Mapping[str, Any] | None = None
        """Resolved configuration of the run, if a command line built this; it goes into the checkpoint."""

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Notes that a run is continued, which has weights of its own."""
        self._has_started = True
        self.holds = kind_of(checkpoint)

    def on_fit_start(self) -> None:
        """Takes the weights to start from, at the beginning of a run."""
        self.start_from_weights()

    def start_from_weights(self) -> None:
        """Takes the weights that training is to start from, if there are any, once.

        Raises:
            ValueError: If there are no such weights, or they are of another model.
        """
        if self.weights is not None and not self._has_started:
            with without_adapters(self.model):
                all_said = start_from(self, self.model, self.weights)
            for said in all_said:
                _say(f"weights     {self.weights}: {said}")
        self._has_started = True

    def configure_model(self) -> None:
        """Divides the model over processes, where the strategy asks for it."""
        if self.device_mesh is not None:
            shard(self.model, self.device_mesh["data_parallel"])

    def on_validation_start(self) -> None:
        """Has all weights at hand: processes may have different numbers of batches."""
        self._held.enter_context(whole(self.model))

    def on_validation_end(self) -> None:
        """Divides the weights again."""
        self._held.close()

    on_test_start = on_predict_start = on_validation_start
    on_test_end = on_predict_end = on_validation_end

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Loss of one batch."""
        return self._step(batch, "train")

    def validation_step(self, batch: Batch | None, batch_index: int) -> Tensor | None:
        """Loss and in-batch retrieval on held-out pairs, if there are any."""
        return None if batch is None else self._step(batch, "val")

    def test_step(self, batch: Batch | None, batch_index: int) -> Tensor | None:
        """Loss and in-batch retrieval on the test pairs, if there are any."""
        return None if batch is None else self._step(batch, "test")

    def _step(self, batch: Batch, stage: str) -> Tensor:
        with self._profiled("encode"):
            encoded = encode_in_micro_batches(self.objective, self.model, batch, self.micro_batch_size)
        with self._profiled("reduce"):
            reduced = self.objective.reduce(self.model, encoded)
        pairs = int(reduced.pop("pairs"))
        is_training = stage == "train"
        stage = named(stage, self.holds)
        if not is_training or self._is_logged():
            scalars = {f"{stage}/{name}": value.detach() for name, value in reduced.items()}
            if is_training:
                scale = self.model.logit_scale.detach().exp()
                if self.model.logit_scale.requires_grad:
                    scalars["train/scale"] = scale
                scalars["train/lr"] = torch.tensor(self.trainer.optimizers[0].param_groups[0]["lr"])
                scalars |= {f"train/{name}": value for name, value in embedding_statistics(encoded, scale).items()}
            self.log_dict(scalars, on_step=is_training, on_epoch=not is_training, batch_size=pairs)
        return reduced["loss"]

    def _profiled(self, action: str) -> AbstractContextManager[Any]:
        """Tells the trainer's profiler, among the actions that Lightning tells it of."""
        profiler: Profiler = self.trainer.profiler  # type: ignore[attr-defined]
        return profiler.profile(f"[LightningModule]{type(self).__name__}.{action}")

    def _is_logged(self) -> bool:
        """Whether the trackers take this step's values; handing them to Lightning costs a tenth of a small step."""
        trainer: Any = self.trainer
        every, step = int(trainer.log_every_n_steps), int(trainer.global_step)
        return every > 0 and (step == 0 or (step + 1) % every == 0)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Updates the parameters, then caps the temperature (Radford et al. 2021, section 2.5)."""
        super().optimizer_step(*args, **kwargs)
        self.model.cap_logit_scale_(self.objective.max_scale)

    def configure_optimizers(self) -> Any:
        """The optimiser over decay groups, and the schedule by step."""
        # The scaler of 16-mixed unscales gradients by itself, which a fused optimiser would do a second time.
        optimizer = self.make_optimizer(fused=getattr(self.trainer.precision_plugin, "scaler", None) is None)
        total_steps = int(self.trainer.estimated_stepping_batches)
        if doubt := self.schedule.doubt(total_steps):
            _say(f"schedule    {doubt}")
        scheduler = LambdaLR(optimizer, functools.partial(self.schedule, total_steps=total_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def make_optimizer(self, *, fused: bool) -> Optimizer:
        """The optimiser over the decay groups, with the rates of each tower.

        Args:
            fused: Whether to prefer a fused kernel.

        Raises:
            ValueError: If the optimiser cannot be used for these parameters.
        """
        lr_factors = {key: value for tuned in self._tuned for key, value in learning_rate_factors(*tuned).items()}
        return build_optimizer(self.optimizer, self, fused=fused, lr_factors=lr_factors)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Steps the schedule; the learning rate is logged by the progress callback."""
        scheduler.step()

    def scorer(self) -> Scorer:
        """How the model scores classes, given what it learned."""
        return self.objective.scorer(self.model, self.tokenizer)

    def take_weights(self, checkpoint: Mapping[str, Any], path: str | Path) -> None:
        """Loads a checkpoint's weights, and notes which they are; the arguments are those of ``load_weights``.

        Raises:
            ValueError: If they are of another model.
        """
        load_weights(self, checkpoint, path)
        self.holds = kind_of(checkpoint)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the parts and the configuration as plain data."""
        write_description(checkpoint, self, self.config)

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls, checkpoint_path: str | Path, map_location: Any = None, allow_modules: Collection[str] = (), **_: Any
    ) -> Self:
        """Rebuilds the task with its weights; the file needs nothing beside it, and nothing of it is unpickled.

        Args:
            checkpoint_path: A checkpoint of a run.
            map_location: Device of the tensors; the CPU by default.
            allow_modules: Modules beside the installed packages whose classes the checkpoint may name.

        Returns:
            The task, in training mode.

        Raises:
            ValueError: If the file is no checkpoint of this package, or its weights do not fit.
        """
        checkpoint = read_checkpoint(checkpoint_path, map_location)
        task = build_described(
            checkpoint,
            checkpoint_path,
            lambda spec: build(spec, allow_modules=allow_modules, partial=(Optimizer,)),
        )
        if not isinstance(task, cls):
            raise ValueError(f"{str(checkpoint_path)!r} holds a {type(task).__name__}, not a {cls.__name__}")
        task.take_weights(checkpoint, checkpoint_path)
        task.config = checkpoint["clip_lightning"]["config"]
        return task


@rank_zero_only
def _say(line: str) -> None:
    """Prints a line, in the form of the others that ``fit`` begins with."""
    print(line, flush=True)


def _freeze_what_is_not_trained(model: CLIP, objective: Objective) -> None:
    """Takes the parts that an objective does not need out of training; without gradient they would hold up others."""
    parts: dict[str, list[torch.nn.Module | None]] = {
        "image": [model.image_encoder, model.image_projection],
        "text": [model.text_encoder, model.text_projection],
    }
    for name, modules in parts.items():
        for module in modules:
            if module is not None and name not in objective.needs:
                module.requires_grad_(False)
    model.logit_scale.requires_grad_("logit_scale" in objective.needs)


def _check_vocabulary(tokenizer: Tokenizer, text_encoder: TextEncoder) -> None:
    """Refuses a text tower whose ids or positions are not the tokeniser's."""
    for name in ("vocab_size", "context_length"):
        wanted, given = getattr(tokenizer, name), getattr(text_encoder, name)
        if wanted != given:
            raise ValueError(
                f"text_encoder.{name} is {given}, but {type(tokenizer).__name__} has {wanted}; give both the same"
            )
