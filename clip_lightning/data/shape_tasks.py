"""Questions about ShapeScenes beside colour and shape together: sets to probe, to count, to read."""

from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from clip_lightning.data.class_names import read_class_names
from clip_lightning.data.labelled import LabelledDataset
from clip_lightning.data.shape_drawing import COLOURS, SHAPES
from clip_lightning.data.shape_grammar import DIGITS, PLEASANT, SIZES, WORDS, Scene
from clip_lightning.data.shape_parts import Split
from clip_lightning.data.shape_scenes import ShapeScenes
from clip_lightning.text import read_templates

Task = Literal["shape", "colour", "size", "objects", "count", "word", "digit", "sentiment"]
TaskSplit = Literal["train", "val", "test"]


class _Question(NamedTuple):
    """What is asked of a scene.

    Args:
        part: The part of the benchmark; "..._" comes as train, val and test.
        answer: Label of a scene.
        metric: What models are compared by.
    """

    part: str
    answer: Callable[[Scene], int | np.ndarray]
    metric: str = "accuracy"


def _what(scene: Scene) -> str:
    return scene.picture.marks[0].what


def _objects(scene: Scene) -> np.ndarray:
    there = {mark.what for mark in scene.picture.marks}
    return np.array([shape in there for shape in SHAPES], dtype=np.int64)


_QUESTIONS: dict[Task, _Question] = {
    "shape": _Question("probe_", lambda scene: list(SHAPES).index(_what(scene))),
    "colour": _Question(
        "tail_", lambda scene: list(COLOURS).index(scene.picture.marks[0].colour), "mean_per_class_accuracy"
    ),
    "size": _Question("probe_", lambda scene: SIZES.index(scene.sizes[0]), "roc_auc"),
    "objects": _Question("couple_", _objects, "mean_average_precision_11_point"),
    "count": _Question("count", lambda scene: len(scene.picture.marks) - 1),
    "word": _Question("word", lambda scene: WORDS.index(_what(scene))),
    "digit": _Question("digit", lambda scene: DIGITS.index(_what(scene))),
    "sentiment": _Question("sentiment", lambda scene: int(_what(scene) in PLEASANT)),
}


class ShapeTasks(LabelledDataset):
    """Scenes and one question about them.

    | task | question | scenes | metric |
    |---|---|---|---|
    | shape | which of 8 shapes | single shapes | accuracy |
    | colour | which of 8 colours, each rarer than the one before | single shapes | mean per class |
    | size | large or small | single shapes | ROC AUC |
    | objects | which of 8 shapes there are | two shapes | 11-point mAP |
    | count | how many, 1 to 5 | equal shapes | accuracy |
    | word, digit | which of 10 | a text | accuracy |
    | sentiment | pleasant or not | a text | accuracy |

    The first four come as 1,500 scenes to train on, 300 to validate and 600 to test, the others as 250 to test. No
    scene shows a held-out pair of colour and shape.

    Args:
        task: What is asked.
        split: "train", "val" or "test".
        seed: Of the benchmark.
        templates: As ``read_templates`` takes them; by default those of ``prompts/shape_tasks.md``.
        size: Number of scenes; by default that of the split.

    Raises:
        ValueError: If the task is unknown, or has no such split.
    """

    def __init__(
        self,
        task: Task,
        split: TaskSplit = "test",
        seed: int = 0,
        templates: list[str] | str | Path | None = None,
        size: int | None = None,
    ) -> None:
        if task not in _QUESTIONS:
            raise ValueError(f"ShapeTasks has no task {task!r}; use one of {', '.join(_QUESTIONS)}")
        question = _QUESTIONS[task]
        self.source: ShapeScenes = ShapeScenes(_part(task, question.part, split), size, seed)
        self.name = f"shape_scenes_{task}"
        self.split = split
        self.metric = question.metric
        self._answer = question.answer
        with as_file(files("clip_lightning") / "prompts" / "shape_tasks.md") as prompts:
            self.class_names = [one.names for one in read_class_names(f"{prompts}#{task}")]
            self.templates = read_templates(f"{prompts}#{task}" if templates is None else templates)

    def target(self, index: int) -> int | np.ndarray:
        """The answer; of "objects", 0 or 1 for each shape."""
        return self._answer(self.source.scene(index))


def _part(task: Task, part: str, split: TaskSplit) -> Split:
    """The part of the benchmark that a task's split is."""
    if split not in get_args(TaskSplit):
        raise ValueError(f"ShapeTasks has no split {split!r}; use one of {', '.join(get_args(TaskSplit))}")
    if part.endswith("_"):
        part += split
    elif split != "test":
        raise ValueError(f"task {task!r} has no split {split!r}, only 'test'")
    found: Split = part  # type: ignore[assignment]
    return found
