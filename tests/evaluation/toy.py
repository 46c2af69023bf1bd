"""Labels without images, and scores that a test made."""

import numpy as np

from clip_lightning.data.features import Features
from clip_lightning.data.labelled import LabelledDataset


class Labels(LabelledDataset):
    """Labels without images; samples in ``further`` go under further labels too."""

    def __init__(self, classes=8, names=None, target=(), further=(), name="toy", **attributes):
        self.name, self.split, self.templates = name, "test", ["a photo of a {}.", "a {}"]
        self.class_names = names or [[f"thing {label}"] for label in range(classes)]
        self._target, self._further, self.source = np.asarray(target, dtype=int), dict(further), name
        for attribute, value in attributes.items():
            setattr(self, attribute, value)

    def target(self, index):
        return self._target[index]

    def accepted(self, index):
        return (*super().accepted(index), *self._further.get(index, ()))


class Fixed:
    """A context with scores: an array, arrays by the name of the data set, or a function of the prompts."""

    def __init__(self, scores, missing=()):
        self.scores = scores
        self.missing = dict.fromkeys(missing, "torn")
        self.prompts = [["thing 0"]]

    def images(self, source):
        rows = self._of(source, self.prompts)
        return Features(rows, np.arange(len(rows)), self.missing)

    def class_scores(self, source, prompts):
        self.prompts = prompts
        return self._of(source, prompts)

    def _of(self, source, prompts):
        scores = self.scores(prompts) if callable(self.scores) else self.scores
        return np.asarray(scores[source] if isinstance(scores, dict) else scores, dtype=float)


def run(evaluator, scores, **changes):
    """Results by the last part of their names, which are those that the evaluator announced."""
    results = evaluator.compute(evaluator.collect(Fixed(scores, **changes)))
    assert [result.name for result in results] == evaluator.reports
    return {result.metric: result for result in results}


def noisy(classes=8, images=400, signal=1.5, seed=0):
    """Scores that are right more often than not, and labels of very different frequency."""
    rng = np.random.default_rng(seed)
    chances = np.arange(1, classes + 1) / np.arange(1, classes + 1).sum()
    target = rng.choice(classes, size=images, p=chances)
    return rng.normal(size=(images, classes)) + signal * np.eye(classes)[target], target
