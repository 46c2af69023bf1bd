"""Draws what a run has learned, once its best checkpoint has been tested."""

from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer

from clip_lightning.callbacks.evaluation import RunEvaluators
from clip_lightning.data import CenterCrop, Source
from clip_lightning.evaluation import ZeroShot
from clip_lightning.evaluation.labels import label_names
from clip_lightning.inference import best_captions
from clip_lightning.tracking import journal

FIGURE = "overview.png"


class Pictures(Callback):
    """Writes ``overview.png``: learning curves, accuracy by class, and images with their best-matching captions.

    Args:
        evaluation: Whose latest classification is drawn.
        pairs: Pairs that were not trained on, to match with each other.
        curves: Metrics to draw over the steps of training; those that were not logged are left out.
        title: Headline.
    """

    def __init__(self, evaluation: RunEvaluators, pairs: Source | None, curves: list[str], title: str) -> None:
        self.evaluation = evaluation
        self.pairs = pairs
        self.curves = curves
        self.title = title

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draws, on the first process."""
        if trainer.is_global_zero:
            self.draw(Path(trainer.default_root_dir), pl_module)

    def draw(self, run_dir: Path, task: Any) -> Path:
        """Draws the figure into a run folder.

        Args:
            run_dir: Folder with the run's journal.
            task: The trained task.

        Returns:
            Path of the figure.
        """
        # matplotlib takes a second to import: only a run that draws pays for it.
        from clip_lightning.reports import figures

        history = read_history(run_dir, self.curves)
        target, preds, class_names = self._classified()
        found = []
        if self.pairs is not None:
            transform = CenterCrop.of(task.model.pixels)
            found = best_captions(task.model, task.scorer(), self.pairs, transform, images=8)
        figure = figures.overview(history, target, preds, class_names, found, self.title)
        path = run_dir / FIGURE
        figures.save(figure, path)
        return path

    def _classified(self) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Labels and predictions of the latest classifications that share the first one's labels."""
        collected = [(part, data) for part, data in self.evaluation.collected if isinstance(part, ZeroShot)]
        scored = [(label_names(part.dataset), data) for part, data in collected if data.target.ndim == 1]
        if not scored:
            return np.zeros(0, dtype=int), np.zeros(0, dtype=int), []
        names = scored[0][0]
        same = [data for its, data in scored if its == names]
        target = np.concatenate([data.target for data in same])
        preds = np.concatenate([data.scores.argmax(axis=1) for data in same])
        # An accepted class counts as the image's own, as it does in the results.
        accepted = np.concatenate([data.right for data in same])[np.arange(len(preds)), preds]
        return target, np.where(accepted, target, preds), names


def read_history(run_dir: Path, names: list[str]) -> dict[str, tuple[list[int], list[float]]]:
    """Curves of the named metrics from a run's journal, without those that it does not have."""
    series = journal.metrics(run_dir / "journal.jsonl")
    return {name: (series[name].step, series[name].value) for name in names if name in series}
