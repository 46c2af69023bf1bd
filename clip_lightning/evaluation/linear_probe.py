"""Linear probes of an image encoder as an evaluator."""

from typing import Any, NamedTuple

from clip_lightning.data.features import Stage
from clip_lightning.data.labelled import LabelledDataset
from clip_lightning.evaluation.base import Context, Evaluator
from clip_lightning.evaluation.labelled_rows import (
    LabelledRows,
    check_parts,
    check_stage,
    check_trained,
    collect_rows,
    part_text,
)
from clip_lightning.evaluation.labels import right_protocol
from clip_lightning.evaluation.logistic_regression import ITERATIONS
from clip_lightning.evaluation.metrics import PER_CLASS
from clip_lightning.evaluation.probe import SHARE, Probed, linear_probe
from clip_lightning.results import Result


class Parts(NamedTuple):
    """What ``LinearProbe`` collects."""

    train: LabelledRows
    val: LabelledRows | None
    test: LabelledRows


class LinearProbe(Evaluator):
    """Logistic regression on the image encoder's features, rated by the data set's own metric.

    The penalty is chosen in validation, among 97 strengths with at most 15 fits; the classifier that is tested was
    fitted to training and validation images. Features are neither standardised nor brought to unit length. It learns
    one label of each image; where the test set accepts several for an image, any of them is a hit, as of ``ZeroShot``.

    Args:
        train: Images that the classifier learns from.
        test: Images that it is rated on.
        val: Images that choose the penalty; None takes a fifth of ``train``, class by class.
        stage: "pooled" is what the image encoder returns, "features" that projected into the shared space.
        device: Where large sets are fitted, such as "cuda"; small ones are by scikit-learn.
        name: First part of the results' names.

    Raises:
        ValueError: If the parts are not of one data set, or the stage is none.

    Source: Radford et al. 2021 (arXiv 2103.00020), section 3.2 and appendix A.3.
    """

    def __init__(
        self,
        train: LabelledDataset,
        test: LabelledDataset,
        val: LabelledDataset | None = None,
        stage: Stage = "pooled",
        device: str = "cpu",
        name: str = "linear_probe",
    ) -> None:
        check_stage(stage)
        check_parts(test, train=train, val=val)
        self.train, self.val, self.test = train, val, test
        self.stage, self.device = stage, device
        self.prefix = f"{name}/{test.name}"
        self.reports = [f"{self.prefix}/{test.metric}"]

    def collect(self, context: Context) -> Parts:
        """Rows of all parts.

        Raises:
            ValueError: If labels and names do not fit, or a class has no image to train with.
        """
        train = collect_rows(context, self.train, self.stage)
        check_trained(self.train, train)
        val = None if self.val is None else collect_rows(context, self.val, self.stage)
        return Parts(train, val, collect_rows(context, self.test, self.stage, is_rated=True))

    def compute(self, collected: Parts) -> list[Result]:
        """The data set's own metric, with the fits that the penalty was chosen from."""
        train, val, test = collected
        val_rows, val_labels = (None, None) if val is None else (val.values, val.target)
        probed = linear_probe(
            train.values,
            train.target,
            val_rows,
            val_labels,
            test.values,
            test.target,
            metric=self.test.metric,
            device=self.device,
            accepted=test.right,
        )
        result = Result(
            name=self.reports[0],
            value=probed.value,
            interval=probed.interval,
            method=probed.method,
            n=len(test.target),
            missing=test.missing,
            metric=self.test.metric,
            protocol=self._protocol(collected, probed),
            source=self.test.name,
            items=probed.items,
            details=_search(probed),
            strata=test.target if self.test.metric == PER_CLASS else None,
        )
        return [result]

    def _protocol(self, collected: Parts, probed: Probed) -> dict[str, Any]:
        train, val, test = collected
        validation = f"{SHARE:.0%} of train, class by class"
        if self.val is not None and val is not None:
            validation = part_text(self.val, val)
        protocol: dict[str, Any] = {
            "split": self.test.split,
            "stage": self.stage,
            "train": part_text(self.train, train),
            "val": validation,
            "classifier": f"logistic regression by L-BFGS, at most {ITERATIONS} iterations, fitted to train and val",
            "c": probed.c,
        }
        if test.right is not None:
            protocol |= right_protocol(test.right)
        ended = sum(not fit.classifier.converged for fit in probed.fits) + (not probed.classifier.converged)
        if ended:
            protocol["not_converged"] = f"{ended} of {len(probed.fits) + 1} fits"
        return protocol


def _search(probed: Probed) -> dict[str, Any]:
    """The fits that the penalty was chosen from, in their order."""
    fits = [
        {
            "strength": fit.strength,
            "value": fit.value,
            "iterations": fit.classifier.iterations,
            "converged": fit.classifier.converged,
        }
        for fit in probed.fits
    ]
    return {"kind": "probe_search", "fits": fits, "chosen": 1 / probed.c}
