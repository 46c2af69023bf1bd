"""IIIT5K: words in photographs, each to be told from a list of words."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

from clip_lightning.data.base import RawSample
from clip_lightning.data.image_files import ImageFiles
from clip_lightning.data.packed import PackedTexts
from clip_lightning.text import fill

Lexicon = Literal["small", "medium"]


class IIIT5K(ImageFiles):
    """Cropped words; a sample's captions are its own word and then the others of its list, for ``CaptionChoice``.

    Args:
        path: The release's ``IIIT5K`` folder with ``testdata.mat`` and ``test``.
        lexicon: "small" has 50 words for each photograph, "medium" 1,000, which is the paper's IIIT5K-1k.
        split: "train" or "test".
        template: Sentence with a "{}" for the word.

    Raises:
        ValueError: If scipy is not installed, or a file is missing or not as released.

    Source: Mishra et al. 2012, "Scene text recognition using higher order language priors".
    """

    def __init__(
        self,
        path: str | Path,
        lexicon: Lexicon = "medium",
        split: Literal["train", "test"] = "test",
        template: str = "{}",
    ) -> None:
        if lexicon not in get_args(Lexicon):
            raise ValueError(f"lexicon {lexicon!r} is to be one of {', '.join(get_args(Lexicon))}")
        if importlib.util.find_spec("scipy") is None:
            raise ValueError("IIIT5K's tables are read by scipy, which is not installed; pip install scipy")
        from scipy.io import loadmat

        path, table = Path(path), f"{split}data"
        try:
            rows = loadmat(path / f"{table}.mat")[table].ravel()
            words = [str(row["GroundTruth"].item()) for row in rows]
            lists = [[str(one.item()) for one in row[f"{lexicon}Lexi"].ravel()] for row in rows]
            images = [str(row["ImgName"].item()) for row in rows]
        except OSError as error:
            raise ValueError(f"cannot read {path / table}.mat: {error}") from None
        except (KeyError, ValueError, AttributeError):
            raise ValueError(f"{path / table}.mat is not as IIIT5K releases it") from None
        super().__init__(path, images, "iiit5k", [lexicon, template, *words])
        self._choices = PackedTexts(
            "\n".join(fill(template, one) for one in dict.fromkeys([word, *others]))
            for word, others in zip(words, lists, strict=True)
        )

    def read(self, index: int) -> RawSample:
        """A photograph; its own word and then the others of its list."""
        return RawSample(super().read(index).image, tuple(self._choices[index].split("\n")))

    def captions(self) -> Iterator[str]:
        """The words of all lists."""
        for choices in self._choices:
            yield from choices.split("\n")
