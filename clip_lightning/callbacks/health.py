"""Says, once each, what is likely wrong with a training that goes on: its cause, and what to change."""

import sys
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer
from tqdm import tqdm

from clip_lightning.callbacks.guards import is_logged

NEAR_CHANCE = 0.02
"""Distance from the loss of equal similarities, as a share of it, up to which nothing is learned."""
ALIKE = 0.98
"""Mean cosine between different samples above which embeddings have collapsed."""
FEW_DIRECTIONS = 1.5
"""Effective rank below which they have collapsed to a line."""
NO_GAP = 0.05
"""Difference of the cosines of positives and negatives below which a collapse is one: two classes lie on a line too."""
FALLEN = 0.7
"""Share of the first scale below which one that goes on falling is told of; healthy runs dip to 0.85 and recover."""
NO_GRADIENT = 1e-8
"""Share of the other tower's gradient norm below which a tower has none."""
LONG = 1_000
"""Optimiser steps for which something must hold without a break, or a quarter of the training if that is less."""
AT_LEAST = 10
"""Steps that every sign must hold for, however short the training."""
SOON = 20
"""The same for a tower without gradient, which no training passes through."""
USUAL_CAP = 100.0
"""Cap of the temperature's factor; a lower one was chosen to be reached."""


class Health(Callback):
    """Watches what is logged for signs of a training that fails, and tells of each once in a run.

    It looks at the steps that are logged: whether the loss is that of equal similarities, the temperature is at its
    cap in the first half of the training or falls, embeddings have collapsed, or a tower has no gradient. A sign is
    told of when it has held on all of these steps for 1,000 steps, or for a quarter of the training if that is less;
    the temperature's cap for a quarter in any case, and a tower without gradient for 20 steps; nothing that has held
    for less than 10 steps is.
    """

    def __init__(self) -> None:
        self._since: dict[str, int] = {}
        self._told: list[str] = []
        self._first_scale: float | None = None
        self._last_scale = 0.0
        self._total_steps = 0
        self._is_logged = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes how long the training is."""
        self._total_steps = int(min(1e12, trainer.estimated_stepping_batches))
        self._is_logged = False

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Notes whether the step is logged."""
        self._is_logged = is_logged(trainer)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Looks at what was logged."""
        if not self._is_logged:
            return
        self._is_logged = False
        values = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("train/")}
        chance = pl_module.objective.chance_loss(len(batch) * trainer.world_size)
        signs = signs_of(values, chance) | self._signs_of_scale(
            values, pl_module.objective.max_scale, trainer.global_step
        )
        for line in self.due(signs, trainer.global_step):
            if trainer.is_global_zero:
                tqdm.write(f"warning     {line}", file=sys.stderr)

    def due(self, signs: Mapping[str, str], step: int) -> list[str]:
        """What is to be told of now.

        Args:
            signs: What holds at this step, by name: a line to tell, in which ``{steps}`` is for how long.
            step: Optimiser steps done.

        Returns:
            The lines of signs that have held for long, and were not told of before.
        """
        self._since = {name: self._since.get(name, step) for name in signs}
        lines = []
        for name, line in signs.items():
            steps = step - self._since[name]
            if name not in self._told and steps >= self._patience(name):
                self._told.append(name)
                lines.append(line.replace("{steps}", f"{steps:,}"))
        return lines

    def _patience(self, name: str) -> int:
        quarter = max(AT_LEAST, self._total_steps // 4)
        if name.endswith("_without_gradient"):
            return min(SOON, quarter)
        return quarter if name == "scale_at_cap" else min(LONG, quarter)

    def _signs_of_scale(self, values: Mapping[str, float], cap: float, step: int) -> dict[str, str]:
        """Signs of the temperature, which are in how it changes."""
        scale = values.get("train/scale")
        if scale is None:
            return {}
        first, last, self._last_scale = self._first_scale, self._last_scale, scale
        if first is None:
            self._first_scale = scale
            return {}
        signs = {}
        # A model that begins there, as published weights do, has not run up to it.
        was_held = "scale_at_cap" in self._since
        is_early = was_held or step <= self._total_steps / 2
        if cap >= USUAL_CAP and scale >= 0.999 * cap > first and is_early:
            signs["scale_at_cap"] = (
                f"the temperature has been at its cap, a factor of {cap:g}, for {{steps}} steps since the first half "
                "of the training: the pairs of a batch are told apart too easily, as where few data are learned by "
                "heart or a batch is small; give more data or augmentation, raise data.batch_size, or lower "
                "model.objective.init_args.max_scale"
            )
        if scale < FALLEN * first and scale <= 1.001 * last:
            signs["scale_falling"] = (
                f"the temperature's factor has fallen for {{steps}} steps, from {first:.3g} to {scale:.3g}: embeddings "
                "do not follow the captions, as where those do not belong to their images, or the learning rate is too "
                "high; look at the data with `python -m clip_lightning data`, lower model.optimizer.init_args.lr, or "
                "raise model.objective.init_args.temperature"
            )
        return signs

    def state_dict(self) -> dict[str, Any]:
        """What was seen and told."""
        return {
            "since": dict(self._since),
            "told": list(self._told),
            "first_scale": self._first_scale,
            "last_scale": self._last_scale,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on with what an earlier part of the run has seen and told."""
        self._since, self._told = dict(state_dict["since"]), list(state_dict["told"])
        self._first_scale, self._last_scale = state_dict["first_scale"], state_dict["last_scale"]


def signs_of(values: Mapping[str, float], chance: float | None) -> dict[str, str]:
    """Signs of a failing training in one step's values.

    Args:
        values: What was logged, by name; what is missing gives no sign, and neither does NaN.
        chance: Loss of a batch whose similarities are all equal; None where that says nothing.

    Returns:
        A line to tell by the name of each sign; ``{steps}`` in it is for how long it has held.
    """
    signs = {}
    nothing = float("nan")
    if chance is not None and abs(values.get("train/loss", nothing) - chance) <= NEAR_CHANCE * chance:
        signs["loss_at_chance"] = (
            f"the loss has been {chance:.2f}, that of equal similarities, for {{steps}} steps: nothing is learned. "
            "Give another model.optimizer.init_args.lr, lower first, or a shorter warm-up; and see with `python -m "
            "clip_lightning data` that captions belong to their images"
        )
    gap = values.get("train/positive_logit_mean", nothing) - values.get("train/negative_logit_mean", nothing)
    has_gap = not gap < NO_GAP * values.get("train/scale", nothing)
    for tower, other in (("image", "text"), ("text", "image")):
        cosine, rank = (values.get(f"train/{tower}_{name}", nothing) for name in ("mean_cosine", "effective_rank"))
        if (cosine > ALIKE or rank < FEW_DIRECTIONS) and not has_gap:
            signs[f"{tower}_collapsed"] = (
                f"the {tower} embeddings have been nearly the same for all samples for {{steps}} steps (mean cosine "
                f"{cosine:.3f}, effective rank {rank:.2f}): the {tower} tower has collapsed. Lower "
                "model.optimizer.init_args.lr or lengthen the warm-up, and begin again: it seldom recovers"
            )
        norm, others = (values.get(f"train/{name}_gradient_norm", nothing) for name in (tower, other))
        if norm <= NO_GRADIENT * others or norm == 0:
            signs[f"{tower}_without_gradient"] = (
                f"the {tower} tower has had no gradient for {{steps}} steps, and does not learn. Its output may not "
                "depend on its weights, be zero, or vanish in trainer.precision 16; to leave it as it is on purpose, "
                f"give model.{tower}_tuning.locked true"
            )
    return signs
