"""Whether a model's probabilities are those of being right."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray as NDArray

from clip_lightning.data.labelled import LabelledDataset
from clip_lightning.evaluation.accuracy import top_k_credit
from clip_lightning.evaluation.base import Context
from clip_lightning.evaluation.calibration_interval import ERROR_METHOD, error_interval
from clip_lightning.evaluation.class_scores import OneLabelEvaluator, Scored, collect_scores
from clip_lightning.evaluation.labels import check_names
from clip_lightning.evaluation.metrics import NO_INTERVAL, Measured
from clip_lightning.evaluation.probabilities import (
    Reliability,
    brier_score,
    classwise_calibration_error,
    fitted_temperature,
    log_probabilities,
    negative_log_likelihood,
    reliability,
)
from clip_lightning.results import Result, counted
from clip_lightning.stats import bootstrap_interval, wilson_interval

_FITTED = "_at_fitted_temperature"


class WithValidation(NamedTuple):
    """What ``Calibration`` collects.

    Args:
        test: The images that are rated.
        validation: Those that the temperature is fitted on, if any.
    """

    test: Scored
    validation: Scored | None


class Calibration(OneLabelEvaluator):
    """Calibration error (15 bins; of the likeliest class, and of all), Brier score and negative log-likelihood.

    Probabilities are those at the model's own temperature. With a validation set the temperature that suits it best is
    fitted, and errors at it are reported too.

    Args:
        dataset: Images, one label each, and the names of the labels.
        validation: Images to fit the temperature on, of the same classes and not among those of ``dataset``.
        templates: Templates in any form that ``read_templates`` takes; None takes the data set's own.
        name: First part of the results' names.

    Raises:
        ValueError: As ``ZeroShot``, and if samples have several labels, or the validation set has other classes.

    Source: Guo et al. 2017 (arXiv 1706.04599).
    """

    def __init__(
        self,
        dataset: LabelledDataset,
        validation: LabelledDataset | None = None,
        templates: list[str] | str | Path | None = None,
        name: str = "calibration",
    ) -> None:
        super().__init__(dataset, templates, name)
        self.validation = validation
        metrics = [
            "expected_calibration_error",
            "classwise_calibration_error",
            "brier_score",
            "negative_log_likelihood",
        ]
        if validation is not None:
            check_names(validation)
            if validation.class_names != dataset.class_names:
                raise ValueError(
                    f"validation {validation.name!r} has other classes than {dataset.name!r}; use one of them"
                )
            metrics += ["temperature", *(metric + _FITTED for metric in metrics)]
        self.reports = [f"{self.prefix}/{metric}" for metric in metrics]

    def collect(self, context: Context) -> WithValidation:
        """Scores of both sets."""
        validation = None if self.validation is None else collect_scores(context, self.validation, self.prompts)
        return WithValidation(collect_scores(context, self.dataset, self.prompts), validation)

    def compute(self, collected: WithValidation) -> list[Result]:
        """The errors at the model's temperature, and at the fitted one."""
        test, validation = collected
        results = self._errors(test)
        if validation is None or self.validation is None:
            return results
        factor = fitted_temperature(validation.scores, validation.right)
        fitted = Measured(factor, None, "none: fitted on the validation set", None)
        images = counted(len(validation.target), "image")
        on = {"fitted_on": f"{self.validation.name}, {self.validation.split}, {images}"}
        results.append(self.result("temperature", fitted, test, on, unit="times"))
        return [*results, *self._errors(test._replace(scores=test.scores / factor), _FITTED, on)]

    def _errors(
        self, scored: Scored, suffix: str = "", protocol: Mapping[str, Any] = MappingProxyType({})
    ) -> list[Result]:
        probabilities = np.exp(log_probabilities(scored.scores))
        hits = top_k_credit(scored.scores, scored.right, 1)
        bins = reliability(probabilities.max(axis=1), hits)
        interval = error_interval(probabilities.max(axis=1), hits)
        method = ERROR_METHOD if interval else NO_INTERVAL
        biased = "none: above 0 even where a model is calibrated"
        measured = {
            "expected_calibration_error": Measured(bins.error(), interval, method, None),
            "classwise_calibration_error": Measured(
                classwise_calibration_error(probabilities, scored.target), None, biased, None
            ),
            "brier_score": _mean(brier_score(probabilities, scored.right)),
            "negative_log_likelihood": _mean(negative_log_likelihood(scored.scores, scored.right)),
        }
        details = {"expected_calibration_error": _as_details(bins)}
        units = {"negative_log_likelihood": "nats"}
        return [
            self.result(metric + suffix, one, scored, protocol, details.get(metric), units.get(metric, ""))
            for metric, one in measured.items()
        ]


def _mean(items: Float[NDArray, "samples"]) -> Measured:
    interval = bootstrap_interval(lambda counts: float(counts @ items / len(items)), len(items))
    return Measured(float(items.mean()), interval, "bootstrap" if interval else NO_INTERVAL, items)


def _as_details(bins: Reliability) -> dict[str, Any]:
    """The filled bins, with a 95 % interval of each one's accuracy."""
    filled = bins.sizes > 0
    rows = [
        {
            "confidence": confidence,
            "accuracy": accuracy,
            "interval": wilson_interval(min(accuracy, 1.0) * n, n),
            "n": n,
        }
        for n, confidence, accuracy in zip(*(values[filled].tolist() for values in bins), strict=True)
    ]
    return {"kind": "reliability", "bins": len(bins.sizes), "rows": rows}
