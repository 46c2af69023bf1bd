"""Videos as images: of each video, or of each section of one, the frame in the middle."""

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clip_lightning.data.base import Damaged, RawSample
from clip_lightning.data.image_files import ImageFiles

if TYPE_CHECKING:
    import av

_EXTENSIONS = ("avi", "mp4", "mkv", "webm", "mov", "m4v", "mpg", "mpeg")


def is_video(name: str) -> bool:
    """Whether a file is a video, by its extension."""
    return name.rpartition(".")[2].lower() in _EXTENSIONS


class Section(NamedTuple):
    """A video or a part of one.

    Args:
        path: The video, relative to the root.
        start: Its beginning, in seconds.
        end: Its end, in seconds; None is that of the video.
    """

    path: str
    start: float = 0.0
    end: float | None = None


class MiddleFrames(ImageFiles):
    """The middle frames of videos, as the paper takes one frame of a video.

    Args:
        root: Folder that the paths are relative to.
        sections: The videos, in the order of the indices.
        name: Short name for logs.

    Raises:
        ValueError: If PyAV is not installed.

    Source: Radford et al. 2021 (arXiv 2103.00020), appendix A.2.
    """

    def __init__(self, root: Path, sections: Iterable[Section], name: str) -> None:
        if importlib.util.find_spec("av") is None:
            raise ValueError("videos are read by PyAV, which is not installed; pip install av")
        sections = list(sections)
        self._times = np.array([(one.start, np.nan if one.end is None else one.end) for one in sections])
        super().__init__(root, (section.path for section in sections), name, [self._times.tobytes().hex()])

    def read(self, index: int) -> RawSample:
        """The frame in the middle of a video.

        Raises:
            Damaged: If the video is missing, or has no such frame.
        """
        path = self._root / self._paths[index]
        if not path.is_file():
            raise Damaged("video file is missing")
        start, end = self._times[index].tolist()
        return RawSample(_frame_at_middle(path, start, None if np.isnan(end) else end), ())


def _frame_at_middle(path: Path, start: float, end: float | None) -> np.ndarray:
    """The first frame that is not before the middle, or the last one there is."""
    import av

    frame = None
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            middle = (start + (_seconds(container, stream) if end is None else end)) / 2
            # To the key frame before it; what is between them has to be decoded.
            container.seek(int(middle * av.time_base))
            for frame in container.decode(stream):
                if frame.time is None or frame.time >= middle:
                    break
            pixels = None if frame is None else frame.to_ndarray(format="rgb24")
    except (av.FFmpegError, IndexError, ValueError):
        raise Damaged("video cannot be read") from None
    if pixels is None:
        raise Damaged("no frame in the middle of the video")
    found: np.ndarray = pixels
    return found


def _seconds(container: "av.container.InputContainer", stream: "av.VideoStream") -> float:
    """Length of a video, as the file says it."""
    import av

    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return float((container.duration or 0) / av.time_base)
