"""ObjectNet: household objects, turned and in odd places, of which 113 are classes of ImageNet too."""

from pathlib import Path
from typing import get_args

import numpy as np

from clip_lightning.data.base import RawSample
from clip_lightning.data.decoding import decode
from clip_lightning.data.folder_files import is_image, list_folder
from clip_lightning.data.image_files import ImageFiles
from clip_lightning.data.imagenet_folders import IMAGENET_TEMPLATES, Names, imagenet_names
from clip_lightning.data.json_files import read_json
from clip_lightning.data.labelled import LabelledDataset
from clip_lightning.text import read_templates

_BORDER = 2


class ObjectNet(LabelledDataset):
    """The photographs of ObjectNet whose objects are classes of ImageNet, without the red border of two pixels.

    Args:
        path: The release's ``objectnet-1.0`` folder with ``images`` and ``mappings``.
        names: "own" takes ObjectNet's names of the 113 classes; "imagenet" those of the classes of ImageNet that are
            one of them, of which the best counts for it. Which of the two it is moves the accuracy by points.
        templates: As ``read_templates`` takes them; by default the 80 of CLIP's authors.

    Raises:
        ValueError: If files are missing or not as the release has them, or there are no such names.

    Source: Barbu et al. 2019, "ObjectNet: a large-scale bias-controlled dataset".
    """

    def __init__(
        self, path: str | Path, names: Names = "own", templates: list[str] | str | Path = IMAGENET_TEMPLATES
    ) -> None:
        if names not in get_args(Names):
            raise ValueError(f"names {names!r} is to be one of {', '.join(get_args(Names))}")
        path = Path(path)
        classes = _classes(path / "mappings")
        folders = {folder: label for label, folder in enumerate(sorted(classes))}
        files = [(f"{folder}/{file}", label) for folder, label in folders.items() for file in _images(path, folder)]
        if names == "own":
            self.class_names = [[classes[folder][0].lower()] for folder in folders]
        else:
            every = imagenet_names("open_clip:IMAGENET_CLASSNAMES")
            self.class_names = [every[number] for folder in folders for number in classes[folder][1]]
            self.pooled = [label for folder, label in folders.items() for _ in classes[folder][1]]
        self.templates = read_templates(templates)
        self.name, self.split = "objectnet", "test"
        self._labels = np.array([label for _, label in files], dtype=np.int64)
        self.source = _Cropped(path / "images", (file for file, _ in files), self.name, [f"border {_BORDER}"])
        self.published_size = 18_574
        self.tell_size()

    def target(self, index: int) -> int:
        """Place of the object among the 113 that are classes of ImageNet."""
        return int(self._labels[index])


class _Cropped(ImageFiles):
    """Image files without their border."""

    def read(self, index: int) -> RawSample:
        """An image's pixels inside of the border."""
        pixels = decode(super().read(index).image)[:, _BORDER:-_BORDER, _BORDER:-_BORDER]
        return RawSample(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()), ())


def _images(path: Path, folder: str) -> list[str]:
    return [file for file in list_folder(path / "images" / folder).files if is_image(file)]


def _classes(mappings: Path) -> dict[str, tuple[str, list[int]]]:
    """For each folder that is a class of ImageNet, ObjectNet's name and the numbers of the classes."""
    try:
        folder_of = {name: folder for folder, name in read_json(mappings / "folder_to_objectnet_label.json").items()}
        names_of = read_json(mappings / "objectnet_to_imagenet_1k.json")
        label_of = {
            line: int(label) for label, line in read_json(mappings / "pytorch_to_imagenet_2012_id.json").items()
        }
        lines = (mappings / "imagenet_to_label_2012_v2").read_text("utf-8").splitlines()
        number_of = {name.strip(): label_of[line] for line, name in enumerate(lines)}
        return {folder_of[name]: (name, [number_of[one] for one in ids.split("; ")]) for name, ids in names_of.items()}
    except OSError as error:
        raise ValueError(f"cannot read {error.filename}: {error.strerror}; it is in ObjectNet's archive") from None
    except (ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"the files in {mappings} are not as ObjectNet releases them: {error!r}") from None
