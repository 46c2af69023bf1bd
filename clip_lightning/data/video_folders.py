"""Labelled videos in a folder for each class: UCF101, Kinetics."""

from pathlib import Path

import numpy as np

from clip_lightning.data.class_names import in_own_order, read_class_names
from clip_lightning.data.folder_files import folder_name, list_folder, shown
from clip_lightning.data.labelled import LabelledDataset, Metric
from clip_lightning.data.middle_frames import MiddleFrames, Section, is_video
from clip_lightning.text import numbered_lines, read_templates


class VideoFolders(LabelledDataset):
    """Videos in a folder for each class, each as the frame in its middle.

    Args:
        path: The folder with the classes' folders.
        class_names: As ``read_class_names`` takes them, in alphabetical order of the folders; or in any order, if they
            are the folders' names but for case, blanks and the like.
        templates: As ``read_templates`` takes them.
        videos: File with a video a line, as ``ApplyLipstick/v_ApplyLipstick_g01_c01.avi``, such as a published split;
            what follows the path is passed over. By default all videos.
        name: Short name, part of a metric's key; by default the name of the folder.
        split: Which part of the data it is, for reports.
        metric: The metric that models are compared by on this set.
        published_size: Number of videos that publications report; another one is told of.

    Raises:
        ValueError: If PyAV is not installed, there are no videos, a listed one is in no class's folder, or the names do
            not fit the folders.
    """

    def __init__(
        self,
        path: str | Path,
        class_names: list[str | list[str]] | str | Path,
        templates: list[str] | str | Path,
        videos: str | Path | None = None,
        name: str | None = None,
        split: str = "test",
        metric: Metric = "accuracy",
        published_size: int | None = None,
    ) -> None:
        path = Path(path)
        folders = list_folder(path).folders
        found = _listed(videos) if videos else [f"{one}/{file}" for one in folders for file in _videos(path / one)]
        if not found:
            raise ValueError(f"{path} has no videos in the folders of classes ({shown(folders)})")
        label_of = {folder: label for label, folder in enumerate(folders)}
        if strays := [video for video in found if video.partition("/")[0] not in label_of]:
            raise ValueError(f"{videos} lists videos of classes that have no folder in {path} ({shown(strays)})")
        self._labels = np.array([label_of[video.partition("/")[0]] for video in found], dtype=np.int64)
        self.class_names = [one.names for one in in_own_order(read_class_names(class_names), folders, str(path))]
        self.templates = read_templates(templates)
        self.name = name or folder_name(path)
        self.split, self.metric = split, metric
        self.source = MiddleFrames(path, map(Section, found), self.name)
        self.published_size = published_size
        self.tell_size()

    def target(self, index: int) -> int:
        """The class in whose folder a video lies."""
        return int(self._labels[index])


def _videos(folder: Path) -> list[str]:
    return [file for file in list_folder(folder).files if is_video(file)]


def _listed(path: str | Path) -> list[str]:
    return [line.split()[0] for _, line in numbered_lines(path)]
