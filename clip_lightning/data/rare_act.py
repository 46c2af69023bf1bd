"""RareAct: unusual actions in videos, such as to cut a laptop."""

import csv
from pathlib import Path
from typing import NamedTuple

from clip_lightning.data.folder_files import list_folder
from clip_lightning.data.middle_frames import MiddleFrames, Section, is_video
from clip_lightning.spec import HasSpec
from clip_lightning.text import fill_templates, read_templates


class Annotated(NamedTuple):
    """A section of a video and one action.

    Args:
        video: Which video.
        verb: What is done.
        noun: To what.
        kind: 1 if the section shows it, 0 if it shows neither; 2 to 4 if verb or noun are right, but not the action.
    """

    video: str
    verb: str
    noun: str
    kind: int


class RareAct(HasSpec):
    """The annotated sections, each as the frame in its middle, and a text for each action.

    Args:
        path: ``rareact.csv`` of the release.
        videos: Folder with the videos, each called by its YouTube identifier.
        templates: As ``read_templates`` takes them, with "{}" for the verb and the noun, as in "cut laptop".

    Attributes:
        source: The frames; index i is row i.
        rows: The annotations.
        actions: Verb and noun of each action, in the order of their first row.
        prompts: The texts of each action.

    Raises:
        ValueError: If a file is missing or not as released, or PyAV is not installed.

    Source: Miech et al. 2020 (RareAct, arXiv 2008.01018).
    """

    def __init__(self, path: str | Path, videos: str | Path, templates: list[str] | str | Path) -> None:
        self.name = "rareact"
        try:
            with open(path, newline="", encoding="utf-8") as file:
                records = list(csv.DictReader(file))
            self.rows = [
                Annotated(one["video_id"], one["verb"], one["noun"], int(one["annotation"])) for one in records
            ]
            spans = [(float(one["start"]), float(one["end"])) for one in records]
        except OSError as error:
            raise ValueError(f"cannot read {path}: {error.strerror}") from None
        except (KeyError, ValueError, TypeError):
            raise ValueError(f"{path} is not RareAct's table; it has the columns video_id, start, end, ...") from None
        if not self.rows:
            raise ValueError(f"{path} has no rows")
        root = Path(videos)
        files = {file.rpartition(".")[0]: file for file in list_folder(root).files if is_video(file)}
        if not files:
            raise ValueError(f"{videos} has no videos; put RareAct's there, each called by its YouTube identifier")
        sections = [
            Section(files.get(row.video, f"{row.video}.mp4"), *span) for row, span in zip(self.rows, spans, strict=True)
        ]
        self.source = MiddleFrames(root, sections, self.name)
        self.actions = list(dict.fromkeys((row.verb, row.noun) for row in self.rows))
        self.prompts = fill_templates([" ".join(action) for action in self.actions], read_templates(templates))
