"""Frames of videos around an anchor each: ImageNet-Vid-Robust and YTBB-Robust."""

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np

from clip_lightning.data.image_files import ImageFiles
from clip_lightning.data.imagenet_folders import IMAGENET_TEMPLATES, Names, imagenet_ids, imagenet_names
from clip_lightning.data.json_files import read_json
from clip_lightning.data.labelled import LabelledDataset
from clip_lightning.text import read_templates

_NEAR = 10
"""Frames before and after an anchor that belong to its clip."""
_NEVER = "none"
"""The class of YTBB that no model is to guess."""
_UNLIKE = {
    *("dissimilar", "problematic", "incorrect", "dont know", "deformation", "background-change"),
    *("occlusion-increased", "blur-increase", "bad-anchor"),
}


class _Clip(NamedTuple):
    """An anchor and the frames near it.

    Args:
        anchor: Path of the anchor.
        labels: Classes that are right for all of them.
        frames: Paths of the others.
    """

    anchor: str
    labels: list[int]
    frames: list[str]


class _FrameClips(LabelledDataset):
    """Frames that are similar to an anchor, in clips; a sample's groups say its clip, and whether it is the anchor.

    A clip whose classes have no name, such as those that ImageNet does not have, is left out.

    Args:
        root: Folder that the frames' paths are relative to.
        clips: The clips.
        own: Name of each class.
        fine: Labels of ImageNet that each class stands for.
        names: "own" or "imagenet", which names describe the classes.
        templates: As ``read_templates`` takes them.
    """

    def __init__(
        self,
        root: Path,
        clips: Sequence[_Clip],
        own: Mapping[int, str],
        fine: Mapping[int, list[int]],
        names: Names,
        templates: list[str] | str | Path,
    ) -> None:
        if names not in get_args(Names):
            raise ValueError(f"names {names!r} is to be one of {', '.join(get_args(Names))}")
        if names == "own":
            scored = [(label, [name]) for label, name in sorted(own.items()) if name != _NEVER]
        else:
            every = imagenet_names("open_clip:IMAGENET_CLASSNAMES")
            scored = [(label, every[number]) for label in sorted(fine) for number in fine[label]]
        place = {label: place for place, label in enumerate(dict.fromkeys(label for label, _ in scored))}
        self.class_names = [name for _, name in scored]
        self.pooled = [place[label] for label, _ in scored]
        self.templates = read_templates(templates)
        self.split = "test"
        named = [clip._replace(labels=[place[one] for one in clip.labels if one in place]) for clip in clips]
        clips = [clip for clip in named if clip.labels]
        frames = [(clip, frame) for clip in clips for frame in (clip.anchor, *clip.frames)]
        self._clips = [clip for clip, _ in frames]
        self._is_anchor = np.array([frame == clip.anchor for clip, frame in frames])
        self.source = ImageFiles(root, (frame for _, frame in frames), self.name)

    def target(self, index: int) -> int:
        """The first of the classes that are right for a frame."""
        return self._clips[index].labels[0]

    def accepted(self, index: int) -> Sequence[int]:
        """All classes that are right for a frame, which are those of its anchor."""
        return self._clips[index].labels

    def groups(self, index: int) -> Mapping[str, str]:
        """The clip of a frame, and whether it is the anchor."""
        return {"clip": self._clips[index].anchor, "anchor": str(bool(self._is_anchor[index])).lower()}


class ImageNetVid(_FrameClips):
    """ImageNet-Vid-Robust: 30 classes of ImageNet's video set, 1,109 anchors with the similar frames around each.

    Args:
        path: The release's ``imagenet-vid-robust`` folder with ``metadata``, ``misc`` and ``val``.
        names: "own" takes the names of the 30 classes; "imagenet" those of the classes of ImageNet that they stand for,
            of which the best counts.
        templates: As ``read_templates`` takes them; by default the 80 of CLIP's authors.

    Raises:
        ValueError: If files are missing or not as the release has them, or there are no such names.

    Source: Shankar et al. 2019, "Do image classifiers generalize across time?" (arXiv 1906.02168).
    """

    def __init__(
        self, path: str | Path, names: Names = "own", templates: list[str] | str | Path = IMAGENET_TEMPLATES
    ) -> None:
        path = Path(path)
        self.name = "imagenet_vid"
        labels, near = read_json(path / "metadata" / "labels.json"), read_json(path / "metadata" / "pmsets.json")
        index = read_json(path / "misc" / "imagenet_vid_class_index.json")
        number_of = {one: number for number, one in enumerate(imagenet_ids("imagenet"))}
        members = read_json(path / "misc" / "rev_wnid_map.json")
        fine = {int(label): [number_of[one] for one in members[wordnet]] for label, (wordnet, _) in index.items()}
        own = {int(label): name.replace("_", " ") for label, (_, name) in index.items()}
        clips = [_Clip(anchor, list(labels[anchor]), list(near[anchor])) for anchor in sorted(near)]
        super().__init__(path, clips, own, fine, names, templates)


class YouTubeBB(_FrameClips):
    """YTBB-Robust: 23 classes of YouTube-BoundingBoxes, anchors with the frames around that annotators found similar.

    Args:
        path: Folder with the frames, a folder for each clip: ``VIDEO_MILLISECONDS/frame-NUMBER.jpg``.
        metadata: Folder with the annotations, as the authors of WiSE-FT have it in
            ``src/datasets/ytbb-robust_metadata``.
        names: As in ``ImageNetVid``; four of the classes are none of ImageNet's.
        templates: As ``read_templates`` takes them; by default the 80 of CLIP's authors.

    Raises:
        ValueError: If files are missing or not as released, or there are no such names.

    Source: Shankar et al. 2019, "Do image classifiers generalize across time?" (arXiv 1906.02168).
    """

    def __init__(
        self,
        path: str | Path,
        metadata: str | Path,
        names: Names = "own",
        templates: list[str] | str | Path = IMAGENET_TEMPLATES,
    ) -> None:
        folder = Path(metadata)
        self.name = "youtube_bb"
        own = {int(label): str(name) for label, name in read_json(folder / "ytbb_class_index.json").items()}
        fine = {int(label): list(few) for label, few in read_json(folder / "rev_class_idx_map.json").items()}
        super().__init__(Path(path), _youtube_clips(folder, own), own, fine, names, templates)


def _youtube_clips(folder: Path, own: Mapping[int, str]) -> list[_Clip]:
    """Anchors that annotators found good, with the frames that they found similar, and the classes they saw."""
    label_of = {name: label for label, name in own.items()}
    near, bad = _similar(_annotations(folder / "pmk_labels.json"))
    first = _first_labels(folder / "ytbb_robustness_test_anchors_full.csv")
    clips = []
    for key, words in sorted(_annotations(folder / "anchor_labels.json").items()):
        if "good" in words and not words & {"bad", "unsure"} and key not in bad:
            labels = {label_of[word] for word in words if word in label_of} | {first[key.partition("/")[0]]}
            clips.append(_Clip(key, sorted(labels), near[key]))
    return clips


def _annotations(path: Path) -> dict[str, set[str]]:
    """The words that annotators gave to a frame, or to a pair of frames."""
    content = read_json(path)
    words = content["labels"]
    return {
        ",".join("/".join(Path(one).parts[-2:]) for one in row["key"].split(",")): {words[n] for n in row["labels"]}
        for row in content["annotations"]
    }


def _similar(pairs: Mapping[str, set[str]]) -> tuple[dict[str, list[str]], set[str]]:
    """For each anchor the frames that are similar to it and near; and the anchors that are no good after all."""
    near: dict[str, list[str]] = defaultdict(list)
    for pair, words in pairs.items():
        anchor, frame = pair.split(",")
        if "similar" in words and not words & _UNLIKE and 0 < abs(_number(frame) - _number(anchor)) <= _NEAR:
            near[anchor].append(frame)
    return near, {pair.partition(",")[0] for pair, words in pairs.items() if "bad-anchor" in words}


def _number(frame: str) -> int:
    return int(frame.rpartition("-")[2].partition(".")[0])


def _first_labels(path: Path) -> dict[str, int]:
    """The class for which a clip was chosen; this file has the last two classes the other way round."""
    other = {22: 23, 23: 22}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {f"{row['ytid']}_{row['time_ms']}": other.get(int(row["label"]), int(row["label"])) for row in rows}
