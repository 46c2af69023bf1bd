"""Features of labelled sets that a classifier is trained and tested on."""

from typing import NamedTuple, get_args

from jaxtyping import Bool, Float, Int
from numpy import ndarray as NDArray

from clip_lightning.data.features import Stage
from clip_lightning.data.labelled import LabelledDataset
from clip_lightning.evaluation.base import Context
from clip_lightning.evaluation.labels import accepted_labels, check_labels, check_names, label_names
from clip_lightning.evaluation.probe import untrained_classes
from clip_lightning.results import counted


class LabelledRows(NamedTuple):
    """The images of a set that could be read.

    Args:
        values: Rows of a stage of the model.
        target: Label of each, or 0 and 1 for each label.
        missing: Number of images that could not be read.
        right: Whether each label counts as right for each image; None where the target says it all, as of images to
            train with.
    """

    values: Float[NDArray, "images channels"]
    target: Int[NDArray, "images *labels"]
    missing: int
    right: Bool[NDArray, "images labels"] | None = None


def check_stage(stage: str) -> None:
    """Refuses a stage that no model has.

    Raises:
        ValueError: If it is not one of ``Stage``.
    """
    if stage not in get_args(Stage):
        raise ValueError(f"there is no stage {stage!r}; use one of {', '.join(get_args(Stage))}")


def check_parts(test: LabelledDataset, **others: LabelledDataset | None) -> None:
    """Refuses parts that are not of one data set, before any image is read.

    Raises:
        ValueError: If names are missing, or a part has other labels or another metric than the test set.
    """
    check_names(test)
    for part, dataset in others.items():
        if dataset is None:
            continue
        check_names(dataset)
        if len(label_names(dataset)) != len(label_names(test)) or dataset.metric != test.metric:
            raise ValueError(
                f"{part} has {len(label_names(dataset))} labels and is rated by {dataset.metric}, but test has "
                f"{len(label_names(test))} and {test.metric}; they must be parts of one data set"
            )


def collect_rows(context: Context, dataset: LabelledDataset, stage: Stage, is_rated: bool = False) -> LabelledRows:
    """Rows and labels of every image that can be read. Collective.

    Args:
        context: Gives the rows.
        dataset: The images.
        stage: Of which the rows are.
        is_rated: Whether a classifier is rated on them, for which all labels that the data set accepts are needed.

    Raises:
        ValueError: If labels and names do not fit.
    """
    features = context.images(dataset.source, stage)
    target = dataset.targets(features.index)
    # Here, where all processes see it, and not where one computes: the others would wait for the one that fails.
    check_labels(dataset, target)
    right = accepted_labels(dataset, features.index, target) if is_rated and target.ndim == 1 else None
    return LabelledRows(features.values, target, len(features.missing), right)


def check_trained(dataset: LabelledDataset, rows: LabelledRows) -> None:
    """Refuses a training set from which some class cannot be learned.

    Raises:
        ValueError: With the names of these classes.
    """
    names = label_names(dataset)
    if untrained := untrained_classes(rows.target, len(names)):
        shown = ", ".join(repr(names[label]) for label in untrained)
        lost = f" ({rows.missing} could not be read)" if rows.missing else ""
        raise ValueError(
            f"{dataset.name!r} has no images of {shown} to train a probe with, or no other ones{lost}; "
            "leave such classes out, or add images"
        )


def part_text(dataset: LabelledDataset, rows: LabelledRows) -> str:
    """A part in a protocol, such as "train, 1,500 images"; what could not be read, and labels without images, are said.

    Args:
        dataset: The part.
        rows: What was read of it.
    """
    occurring = int(rows.target.any(axis=0).sum()) if rows.target.ndim == 2 else len(set(rows.target.tolist()))
    absent = len(label_names(dataset)) - occurring
    lost = f", {rows.missing} not read" if rows.missing else ""
    without = f", none of {counted(absent, 'class')}" if absent else ""
    return f"{dataset.split}, {counted(len(rows.target), 'image')}{lost}{without}"
