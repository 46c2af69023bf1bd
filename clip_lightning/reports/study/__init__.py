"""The report on a study: what is resolved and what is not, and what that rests on."""

from clip_lightning.reports.study.report import study_report

__all__ = ["study_report"]
