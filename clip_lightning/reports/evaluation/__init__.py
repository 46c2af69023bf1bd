"""The report on evaluations: what was measured of one or several models, beside what was published."""

from clip_lightning.reports.evaluation.evaluated import Evaluated
from clip_lightning.reports.evaluation.report import evaluation_report

__all__ = ["Evaluated", "evaluation_report"]
