"""The labels of a data set and their names, and whether they fit each other."""

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray as NDArray

from clip_lightning.data.labelled import LabelledDataset
from clip_lightning.evaluation.metrics import check_metric, check_target

_NAMES_SHOWN = 3


def label_names(dataset: LabelledDataset) -> list[str]:
    """A name for each label: the first of its class, or of some of the finer classes that stand for it."""
    first = [names[0] for names in dataset.class_names]
    if dataset.pooled is None:
        return first
    pooled = np.asarray(dataset.pooled)
    finer = [[first[place] for place in np.flatnonzero(pooled == label)] for label in range(pooled.max() + 1)]
    return [" / ".join(names[:_NAMES_SHOWN]) + " / ..." * (len(names) > _NAMES_SHOWN) for names in finer]


def check_names(dataset: LabelledDataset) -> None:
    """Refuses a metric that there is not, and class names that cannot be the labels', before any image is read.

    Raises:
        ValueError: If a class has no name, a label no class, or a known name stands at another label.
    """
    check_metric(dataset.metric)
    nameless = [label for label, names in enumerate(dataset.class_names) if not names]
    if nameless:
        raise ValueError(f"the classes {nameless} of {dataset.name!r} have no name; give each at least one")
    if dataset.pooled is not None:
        _check_pooled(dataset)
    for label, name in dataset.known_names.items():
        _check_known(dataset, label, name)


def check_prompts(dataset: LabelledDataset, prompts: list[list[str]]) -> None:
    """Refuses texts that are not of the classes.

    Raises:
        ValueError: If there are texts for more or fewer classes than are named, or none for one.
    """
    if len(prompts) != len(dataset.class_names) or not all(prompts):
        counts = [len(own) for own in prompts]
        raise ValueError(
            f"{dataset.name!r} has {len(dataset.class_names)} classes, but texts for {len(prompts)}, of which "
            f"{counts.count(0)} have none; give each class at least one"
        )


def _check_known(dataset: LabelledDataset, label: int, name: str) -> None:
    classes = dict(enumerate(dataset.class_names))
    if name not in classes.get(label, []):
        places = [other for other, names in classes.items() if name in names]
        raise ValueError(
            f"label {label} of {dataset.name!r} is known to be {name!r}, but the class names have "
            f"{classes.get(label, 'nothing')} there and {name!r} {f'at {places[0]}' if places else 'nowhere'}; "
            "give them in the order of the labels"
        )


def _check_pooled(dataset: LabelledDataset) -> None:
    pooled = np.asarray(dataset.pooled)
    if len(pooled) != len(dataset.class_names):
        raise ValueError(
            f"{dataset.name!r} has {len(dataset.class_names)} classes, but pools {len(pooled)}; give each its label"
        )
    unscored = sorted(set(range(pooled.max() + 1)) - set(pooled.tolist()))
    if unscored or pooled.min() < 0:
        raise ValueError(f"no class of {dataset.name!r} stands for the labels {unscored}; labels begin at 0")


def pool(scores: Float[NDArray, "images classes"], dataset: LabelledDataset) -> Float[NDArray, "images labels"]:
    """Scores of the labels: those of the classes, or of the best class that stands for each."""
    if dataset.pooled is None:
        return scores
    pooled = np.asarray(dataset.pooled)
    order = np.argsort(pooled, kind="stable")
    starts = np.flatnonzero(np.diff(pooled[order], prepend=-1))
    return np.maximum.reduceat(scores[:, order], starts, axis=1)


def check_labels(dataset: LabelledDataset, target: Int[NDArray, "images *labels"]) -> None:
    """Refuses labels that the class names cannot stand for.

    Raises:
        ValueError: If a label has no name, or the data set's metric is not defined for such labels.
    """
    names = label_names(dataset)
    try:
        check_target(dataset.metric, target, len(names))
    except ValueError as error:
        raise ValueError(f"{dataset.name!r}: {error}") from None
    if target.ndim == 2:
        return
    unnamed = sorted({int(label) for label in target if not 0 <= label < len(names)})
    if unnamed:
        raise ValueError(
            f"{dataset.name!r} has the labels {unnamed}, but its {len(names)} class names {names} stand for "
            f"0 to {len(names) - 1}; give one name a label, in the order of the labels"
        )


def right_protocol(right: Bool[NDArray, "images labels"]) -> dict[str, str]:
    """What a protocol says of images for which several labels count as right; nothing where there are none."""
    several = int((right.sum(axis=1) > 1).sum())
    return {"right": f"any accepted class; {several} of {len(right)} samples have more than one"} if several else {}


def accepted_labels(
    dataset: LabelledDataset, index: Int[NDArray, "images"], target: Int[NDArray, "images"]
) -> Bool[NDArray, "images labels"]:
    """Whether each label counts as right for each image.

    Raises:
        ValueError: If an accepted label is none, or an image's own is not accepted.
    """
    right = np.zeros((len(target), len(label_names(dataset))), dtype=bool)
    for row, (place, own) in enumerate(zip(index.tolist(), target.tolist(), strict=True)):
        accepted = list(dataset.accepted(place))
        if own not in accepted or not all(0 <= label < right.shape[1] for label in accepted):
            raise ValueError(
                f"{dataset.name!r} accepts the labels {accepted} for sample {place} of label {own}; they "
                f"must be among 0 to {right.shape[1] - 1}, its own label with them"
            )
        right[row, accepted] = True
    return right
