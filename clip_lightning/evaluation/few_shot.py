"""Probes of a few images a class, and how many of them zero-shot classification is worth."""

import copy
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Self

import numpy as np

from clip_lightning.data.features import Stage
from clip_lightning.data.labelled import LabelledDataset
from clip_lightning.evaluation.base import Context, Evaluator
from clip_lightning.evaluation.class_scores import label_scores
from clip_lightning.evaluation.few_shot_curve import VALIDATED, Point, curve_details, few_shot_values
from clip_lightning.evaluation.labelled_rows import (
    LabelledRows,
    check_parts,
    check_stage,
    check_trained,
    collect_rows,
    part_text,
)
from clip_lightning.evaluation.labels import label_names, right_protocol
from clip_lightning.evaluation.metrics import MULTI_LABEL, NO_INTERVAL, value_of
from clip_lightning.evaluation.probe import linear_probe
from clip_lightning.results import Result, counted
from clip_lightning.stats import t_interval


class Shots(NamedTuple):
    """What ``FewShot`` collects.

    Args:
        train: Images to draw from.
        val: Images that those are drawn of which choose penalties; None takes them from ``train``.
        test: Images to rate on.
        zero_shot: Zero-shot figure on them, if it is asked for.
    """

    train: LabelledRows
    val: LabelledRows | None
    test: LabelledRows
    zero_shot: float | None


class FewShot(Evaluator):
    """Linear probes of 1 to 16 images a class: the mean over several draws, and its interval by t.

    The penalty is chosen by the search of ``LinearProbe``, on up to four images a class, no more than shots, which do
    not train. How many shots zero-shot classification is worth is in the details of the largest number's result, with
    the whole curve. Where the test set accepts several labels for an image, any of them is a hit.

    Args:
        train: Images to draw from.
        test: Images that the probes are rated on, all of them.
        val: Images to draw those from that choose the penalty; None draws further ones from ``train``.
        shots: Training images of a class.
        seeds: Of the draws, three at least, which a mean over one would not show the spread of.
        stage: "pooled" is what the image encoder returns, "features" that projected into the shared space.
        zero_shot: Whether to compare with zero-shot classification, by the test set's own templates, where the model
            takes texts.
        full: Whether the curve ends with the probe of all training images, as ``LinearProbe`` makes it.
        device: Where large sets are fitted, such as "cuda".
        name: First part of the results' names.

    Raises:
        ValueError: If the parts are not of one data set, samples have several labels, or shots or seeds are too few.

    Source: Radford et al. 2021 (arXiv 2103.00020), section 3.1.5, figures 6 and 7.
    """

    def __init__(
        self,
        train: LabelledDataset,
        test: LabelledDataset,
        val: LabelledDataset | None = None,
        shots: Sequence[int] = (1, 2, 4, 8, 16),
        seeds: Sequence[int] = (0, 1, 2),
        stage: Stage = "pooled",
        zero_shot: bool = True,
        full: bool = True,
        device: str = "cpu",
        name: str = "few_shot",
    ) -> None:
        check_stage(stage)
        check_parts(test, train=train, val=val)
        if test.metric in MULTI_LABEL:
            raise ValueError(f"the samples of {test.name!r} have several labels; shots of a class need one each")
        if not shots or min(shots) < 1:
            raise ValueError(f"shots {list(shots)} must be numbers of images from 1 up")
        if len(set(seeds)) < 3:
            raise ValueError(f"seeds {list(seeds)} must be three different ones at least, for an interval")
        self.train, self.val, self.test = train, val, test
        self.shots, self.seeds = sorted(set(shots)), list(dict.fromkeys(seeds))
        self.stage, self.zero_shot, self.full, self.device = stage, zero_shot, full, device
        self.prefix = f"{name}/{test.name}"
        self.reports = [f"{self.prefix}/{self._metric(number)}" for number in reversed(self.shots)]

    def without(self, lacking: Collection[str]) -> Self:
        """The probes alone, if the model scores no classes."""
        if not self.zero_shot or "class_scores" not in lacking:
            return self
        probes = copy.copy(self)
        probes.zero_shot = False
        return probes

    def collect(self, context: Context) -> Shots:
        """Rows of all parts, and the zero-shot figure.

        Raises:
            ValueError: If labels and names do not fit, or a class has too few images to draw from.
        """
        train = collect_rows(context, self.train, self.stage)
        check_trained(self.train, train)
        self._check_numbers(train)
        val = None if self.val is None else collect_rows(context, self.val, self.stage)
        test = collect_rows(context, self.test, self.stage, is_rated=True)
        return Shots(train, val, test, self._zero_shot(context, test) if self.zero_shot else None)

    def compute(self, collected: Shots) -> list[Result]:
        """A result for each number of shots, the largest first, with the curve in its details."""
        train, test, right = collected.train[:2], collected.test[:2], collected.test.right
        val = None if collected.val is None else collected.val[:2]
        metric, device = self.test.metric, self.device
        draws = [few_shot_values(train, val, test, self.shots, seed, metric, device, right) for seed in self.seeds]
        points = [Point(shots, [draw[place] for draw in draws]) for place, shots in enumerate(self.shots)]
        rows = [self._result(point, collected) for point in reversed(points)]
        if self.full:
            val_rows, val_labels = val or (None, None)
            full = linear_probe(*train, val_rows, val_labels, *test, metric=metric, device=device, accepted=right)
            points.append(Point(len(train[1]) / len(label_names(self.train)), [full.value]))
        return [replace(rows[0], details=curve_details(points, collected.zero_shot)), *rows[1:]]

    def _zero_shot(self, context: Context, test: LabelledRows) -> float:
        scores = label_scores(context, self.test, self.test.prompts())
        return value_of(self.test.metric, scores, test.target, test.right)

    def _check_numbers(self, train: LabelledRows) -> None:
        """Refuses a training set with too few images of a class."""
        most = self.shots[-1]
        needed = most + (0 if self.val is not None else min(most, VALIDATED))
        counts = np.bincount(train.target)
        if counts.min() < needed:
            name = label_names(self.train)[int(counts.argmin())]
            validation = "" if self.val is not None else f", and {needed - most} to choose the penalty on"
            raise ValueError(
                f"{self.train.name!r} has {counts.min()} training images of {name!r}, too few for "
                f"{counted(most, 'shot')}{validation}; give fewer shots, or more images"
            )

    def _result(self, point: Point, collected: Shots) -> Result:
        interval = t_interval(point.values)
        return Result(
            name=f"{self.prefix}/{self._metric(int(point.shots))}",
            value=point.mean,
            interval=interval,
            method=f"t over {len(point.values)} draws" if interval else NO_INTERVAL,
            n=len(collected.test.target),
            missing=collected.test.missing,
            metric=self._metric(int(point.shots)),
            protocol=self._protocol(int(point.shots), collected),
            source=self.test.name,
        )

    def _protocol(self, shots: int, collected: Shots) -> dict[str, Any]:
        source = self.train.split if self.val is None else self.val.split
        right = collected.test.right
        return {
            "split": self.test.split,
            "stage": self.stage,
            "train": part_text(self.train, collected.train),
            "shots": shots,
            "seeds": self.seeds,
            "c": f"chosen for each draw on {counted(min(shots, VALIDATED), 'image')} a class, drawn from {source}",
            "classifier": "logistic regression by L-BFGS, fitted to the shots",
            **({} if right is None else right_protocol(right)),
        }

    def _metric(self, shots: int) -> str:
        return f"{self.test.metric}_of_{shots}_shot{'s' if shots > 1 else ''}"
