"""Which members of a shard make a sample, and what its captions are."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from clip_lightning.data.tar import Member

IMAGE_EXTENSIONS = (
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm", "pgm", "jp2", "avif", "heic",
    "heif",
)  # fmt: skip
"""What of these cannot be decoded, as HEIC, is counted as damaged, and not left out without a word."""


@dataclass(frozen=True)
class Layout:
    """The members of a sample by their extensions, in lower case; members with other extensions are never read.

    Args:
        image_extensions: Those that an image may have; a sample has one.
        caption_extension: That of the member with the captions.
        caption_columns: Columns with captions if that member is JSON; none if the whole member is one caption.
    """

    image_extensions: tuple[str, ...]
    caption_extension: str
    caption_columns: tuple[str, ...]

    def choose(self, key: str, sample: Mapping[str, Member]) -> tuple[Member, Member]:
        """The image and the caption of a sample.

        Args:
            key: The sample's.
            sample: All its members by extension.

        Raises:
            ValueError: If there is not exactly one of each, with the place.
        """
        place = next(iter(sample.values())).place
        images = [extension for extension in sample if extension in self.image_extensions]
        if len(images) > 1:
            raise ValueError(f"{place}: sample {key!r} has the images {images}; name one of them in image_extensions")
        if not images or self.caption_extension not in sample:
            what = f"caption .{self.caption_extension}" if images else f"image .{', .'.join(self.image_extensions)}"
            dots = (
                "; a key ends at the first dot, so write its name without dots" if any("." in e for e in sample) else ""
            )
            raise ValueError(
                f"{place}: sample {key!r} has no {what}, only {sorted(sample)}; add it, put the members of a sample in "
                f"a row, or name the extension that it has{dots}"
            )
        if hidden := self._hidden(sample):
            raise ValueError(
                f"{place}: {key}.{hidden} looks like a sample of its own, but a key ends at the first dot, so it "
                f"belongs to sample {key!r} and would be lost; write the names without dots"
            )
        return sample[images[0]], sample[self.caption_extension]

    def _hidden(self, sample: Mapping[str, Member]) -> str:
        """What a whole sample is called whose name's dot makes it look like a part of another, or nothing."""
        parts = [extension.rpartition(".") for extension in sample]
        images = {stem for stem, dot, last in parts if dot and last in self.image_extensions}
        return next((stem for stem, _, last in parts if stem in images and last == self.caption_extension), "")

    def captions(self, content: bytes, place: str) -> tuple[str, ...]:
        """The captions in the content of a caption member, without white space around them.

        Args:
            content: Bytes of the member, UTF-8.
            place: Where it stands, for messages.

        Raises:
            ValueError: If it is not as the layout says, or a caption is empty.
        """
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{place}: the caption is not UTF-8 (its byte {error.start}); convert it") from None
        found = [text] if not self.caption_columns else self._of_columns(text, place)
        for caption in found:
            if not isinstance(caption, str) or not caption.strip():
                raise ValueError(f"{place}: a caption is {caption!r}; it must be a text that is not empty")
        return tuple(caption.strip() for caption in found)

    def _of_columns(self, text: str, place: str) -> list[str]:
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{place} is not valid JSON: {error}") from None
        if not isinstance(row, dict):
            raise ValueError(f"{place} is a {type(row).__name__}; it must be a JSON object")
        found: list[str] = []
        for column in self.caption_columns:
            if column not in row:
                raise ValueError(f"{place} has no column {column!r}; its columns are {sorted(row)}")
            value = row[column]
            if value == []:
                raise ValueError(f"{place}: {column} is an empty list; remove the sample or give a caption")
            found.extend(value if isinstance(value, list) else [value])
        return found


def split_name(member: Member) -> tuple[str, str]:
    """Key and extension of a member: the key ends at the first dot of the name's last part, as in webdataset.

    Returns:
        The key with its case and its folders, and the extension in lower case, which may have dots.

    Raises:
        ValueError: If the name is no relative path that stays inside, or has no key or extension, with the place.
    """
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{member.place}: the name {member.name!r} leads out of the folder; write the tar without it")
    folders, slash, name = member.name.rpartition("/")
    stem, _, extension = name.partition(".")
    if not stem or not extension:
        raise ValueError(
            f"{member.place}: the name {member.name!r} is not of the form KEY.EXTENSION, so it belongs to no sample; "
            "write the tar without it"
        )
    return f"{folders}{slash}{stem}", extension.lower()
