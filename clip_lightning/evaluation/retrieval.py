"""Retrieval: the captions of an image among all captions, and the image of a caption among all images."""

import dataclasses
import functools
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray as NDArray
from scipy.sparse import csr_array
from torch.nn import functional as F

from clip_lightning.data import Damaged, Source
from clip_lightning.data.collate import content_id
from clip_lightning.evaluation.base import Context, Evaluator
from clip_lightning.evaluation.places import Places, places
from clip_lightning.results import Result
from clip_lightning.stats import clustered_interval, clustered_median_interval

RECALL_AT = (1, 5, 10)


class Captioned(NamedTuple):
    """Images and their captions, which both may repeat.

    Args:
        image_id: The same number for images of the same content.
        text_id: The same number for equal captions, from 0.
        image: Which image each caption is of.
    """

    image_id: Int[NDArray, "images"]
    text_id: Int[NDArray, "captions"]
    image: Int[NDArray, "captions"]


class Paired(NamedTuple):
    """What ``Retrieval`` collects.

    Args:
        image_embeds: Rows of unit length.
        text_embeds: Rows of unit length, one a caption.
        captioned: Which belong to each other.
        missing: Number of images that could not be read; their captions are not in it.
    """

    image_embeds: Float[NDArray, "images embed_dim"]
    text_embeds: Float[NDArray, "captions embed_dim"]
    captioned: Captioned
    missing: int


def retrieve(
    image_embeds: Float[NDArray, "images embed_dim"],
    text_embeds: Float[NDArray, "captions embed_dim"],
    captioned: Captioned,
) -> tuple[Places, Places]:
    """Finds the best right caption of every image among all captions, and the best right image of every caption.

    A caption is right for an image if an image of this content has a caption of this text; equal captions are right
    together, and so are equal images. Scores are computed a block at a time.

    Args:
        image_embeds: Rows of unit length.
        text_embeds: Rows of unit length.
        captioned: Which belong to each other; every image has a caption.

    Returns:
        Places of the images' captions, and of the captions' images.
    """
    _, image_label = np.unique(captioned.image_id, return_inverse=True)
    pairs = image_label[captioned.image], captioned.text_id
    texts_of_image = csr_array((np.ones(len(text_embeds), dtype=bool), pairs))
    images_of_text = texts_of_image.T.tocsr()
    return (
        places(image_embeds, text_embeds, texts_of_image[image_label], captioned.text_id),
        places(text_embeds, image_embeds, images_of_text[captioned.text_id], image_label),
    )


class Retrieval(Evaluator):
    """Share of queries with a right item among the 1, 5 and 10 best, and the median rank, in both directions.

    Every image looks for its captions among all captions, and every caption for its image among all images. Captions of
    equal text count as right for each other's images, and images of the same stored content for each other's captions.
    Equal scores share the hit, so a model that tells nothing apart gets chance level.

    Args:
        source: Images with one or several captions each.
        captions_per_image: How many captions of an image to take, the first ones, or "all".
        prefix: Put before each caption, with a space between, as the paper does with "a photo of".
        name: First part of the results' names.

    Raises:
        ValueError: If ``captions_per_image`` is not positive.

    Source: Radford et al. 2021 (arXiv 2103.00020), appendix E.1.
    """

    needs = frozenset({"text_embeds"})

    def __init__(
        self,
        source: Source,
        captions_per_image: int | Literal["all"] = "all",
        prefix: str = "",
        name: str = "retrieval",
    ) -> None:
        if captions_per_image != "all" and captions_per_image < 1:
            raise ValueError(f"captions_per_image {captions_per_image} leaves none; use 1 at least, or 'all'")
        self.source = source
        self.captions_per_image = captions_per_image
        self.text_prefix = prefix
        self.prefix = f"{name}/{source.name}"
        metrics = [*(f"recall_at_{k}" for k in RECALL_AT), "median_rank"]
        directions = "image_to_text", "text_to_image"
        self.reports = [f"{self.prefix}/{direction}_{metric}" for direction in directions for metric in metrics]

    def collect(self, context: Context) -> Paired:
        """Embeds of every image and of every different caption.

        Raises:
            ValueError: If an image has no caption.
        """
        features = context.images(self.source)
        image_id, captions = self._stored
        taken = [captions[index] for index in features.index.tolist()]
        texts = {text: number for number, text in enumerate(dict.fromkeys(text for own in taken for text in own))}
        embeds = context.text_embeds([f"{self.text_prefix} {text}".strip() for text in texts])
        text_id = np.array([texts[text] for own in taken for text in own])
        image = np.repeat(np.arange(len(taken)), [len(own) for own in taken])
        captioned = Captioned(image_id[features.index], text_id, image)
        image_embeds = F.normalize(torch.from_numpy(features.values), dim=-1).numpy()
        return Paired(image_embeds, embeds[text_id], captioned, len(features.missing))

    def compute(self, collected: Paired) -> list[Result]:
        """Recalls and median ranks, each with a 95 % interval that knows which captions are of one image."""
        found = retrieve(collected.image_embeds, collected.text_embeds, collected.captioned)
        of_images = collected.captioned.image_id
        clusters = of_images, of_images[collected.captioned.image]
        directions = zip(("image_to_text", "text_to_image"), found, clusters, strict=True)
        return [result for direction in directions for result in self._results(*direction, collected)]

    @functools.cached_property
    def _stored(self) -> tuple[Int[NDArray, "images"], list[tuple[str, ...]]]:
        """Content hash and captions of every sample; of one that cannot be read they do not matter."""
        image_id: list[int] = []
        captions: list[tuple[str, ...]] = []
        for index in range(len(self.source)):
            try:
                sample = self.source.read(index)
            except Damaged:
                image_id.append(-1)
                captions.append(())
                continue
            if not sample.captions:
                raise ValueError(f"{self.source.place(index)} has no caption; retrieval needs one for every image")
            image_id.append(content_id(sample.image))
            captions.append(self._first(sample.captions))
        return np.array(image_id), captions

    def _first(self, captions: tuple[str, ...]) -> tuple[str, ...]:
        return captions if self.captions_per_image == "all" else captions[: self.captions_per_image]

    def _results(
        self, direction: str, found: Places, clusters: Int[NDArray, "queries"], collected: Paired
    ) -> list[Result]:
        """All results of one direction."""
        results = []
        for k in RECALL_AT:
            items = found.credit(k)
            recall = float(items.mean()), clustered_interval(items, clusters)
            result = self._result(f"{direction}_recall_at_{k}", *recall, len(items), collected)
            results.append(dataclasses.replace(result, items=items, clusters=clusters))
        ranks = found.ranks()
        median = float(np.median(ranks)), clustered_median_interval(ranks, clusters)
        return [*results, self._result(f"{direction}_median_rank", *median, len(ranks), collected)]

    def _result(
        self, metric: str, value: float, interval: tuple[float, float] | None, n: int, collected: Paired
    ) -> Result:
        is_rank = metric.endswith("rank")
        method = f"{'woodruff' if is_rank else 'wilson'}, clustered by image" if interval else "none: a single image"
        protocol = {
            "images": len(collected.image_embeds),
            "captions": len(collected.text_embeds),
            "captions_per_image": self.captions_per_image,
            "text_prefix": self.text_prefix,
            "right": "any caption of an image of this content, any image of a caption of this text",
            "ties": "shared",
        }
        return Result(
            name=f"{self.prefix}/{metric}",
            value=value,
            interval=interval,
            method=method,
            n=n,
            missing=collected.missing,
            metric=metric,
            protocol=protocol,
            source=self.source.name,
            unit="ranks" if is_rank else "",
        )
