"""What the objectives on pairs share: features, the batch of all processes, and how much of it is found again."""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributed import ProcessGroup

from clip_lightning.batch import Batch
from clip_lightning.models import CLIP
from clip_lightning.objectives.base import Objective, Scorer
from clip_lightning.objectives.exchange import EXCHANGES, Exchange, ExchangeName, GatherExchange
from clip_lightning.objectives.positives import Repeats
from clip_lightning.objectives.scoring import ContrastiveScorer
from clip_lightning.objectives.tiles import TILE_SIZE, Nearest, Tile, moved
from clip_lightning.text import Tokenizer


@dataclass
class Pairing:
    """The whole batch, but for its rows.

    Args:
        exchange: Where this process's rows are in it, and how texts reach the images.
        repeats: Further positives; None where no caption repeats.
        text_id: Captions of this process, to count what is found; None where that is not asked for.
        all_text_id: Captions of the whole batch.
        tile_size: Rows and columns of a tile.
    """

    exchange: Exchange
    repeats: Repeats | None = None
    text_id: Int[Tensor, "batch"] | None = None
    all_text_id: Int[Tensor, "global_batch"] | None = None
    tile_size: int = TILE_SIZE


def alone(
    image_embeds: Float[Tensor, "batch embed_dim"],
    text_embeds: Float[Tensor, "batch embed_dim"],
    text_id: Int[Tensor, "batch"] | None,
    tile_size: int,
    *,
    uniform: bool,
) -> Pairing:
    """A batch that is whole on this process.

    Raises:
        ValueError: If the numbers of images, texts and captions differ.
    """
    if len(image_embeds) != len(text_embeds):
        raise ValueError(f"{len(image_embeds)} image and {len(text_embeds)} text embeddings are not pairs")
    if text_id is not None and len(text_id) != len(text_embeds):
        raise ValueError(f"{len(text_id)} identities do not belong to {len(text_embeds)} captions")
    exchange = GatherExchange([len(image_embeds)])
    repeats = None if text_id is None else Repeats(text_id, text_id, 0, uniform=uniform)
    return Pairing(exchange, repeats, tile_size=tile_size)


class Found(NamedTuple):
    """Nearest neighbours, as a pass over the tiles finds them.

    Args:
        texts: Nearest text of each of this process's images.
        images: Nearest of this process's images to each text of the whole batch.
    """

    texts: Nearest
    images: Nearest

    @classmethod
    def none_yet(cls, like: Tensor, pairing: Pairing) -> Self | None:
        """Before the first tile, where captions are to be counted."""
        if pairing.text_id is None:
            return None
        return cls(Nearest(len(pairing.text_id), like), Nearest(pairing.exchange.total, like))

    def add(self, tile: Tile, place: slice) -> None:
        """Takes a tile of a block that has its place in the whole batch."""
        columns = moved(tile.columns, place.start)
        self.texts.add(tile.rows, tile.logits, 1, columns.start)
        self.images.add(columns, tile.logits, 0, tile.rows.start)

    def shares(self, pairing: Pairing) -> Float[Tensor, "2"]:
        """Which share of the images, and of the texts, have a neighbour with their caption."""
        own, every = pairing.text_id, pairing.all_text_id
        assert own is not None
        assert every is not None
        by_image = (every[self.texts.where] == own).to(self.texts.largest).sum()
        is_found = (own[self.images.where] == every).to(self.images.largest)
        largest, all_found = pairing.exchange.stacked(torch.stack([self.images.largest, is_found])).unbind(1)
        # Of processes with equal neighbours the first is taken, as one process would.
        by_text = all_found.gather(0, largest.argmax(dim=0, keepdim=True)).sum()
        return torch.stack([pairing.exchange.summed(by_image), by_text]) / pairing.exchange.total


class PairObjective(Objective):
    """Base of what is learned from each image with each text of the batch of all processes.

    Args:
        temperature: Initial temperature; its inverse multiplies the cosine similarities and is learned.
        repeated_captions: Whether captions that repeat in a batch count as positives of each other's images.
        max_scale: Largest factor that the temperature may learn.
        exchange: How texts reach the images of other processes.

    Raises:
        ValueError: If the temperature is not positive, its inverse exceeds ``max_scale``, or there is no such exchange.
    """

    uniform = True
    """Whether the positives of an image share one target."""

    def __init__(self, temperature: float, repeated_captions: bool, max_scale: float, exchange: ExchangeName) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature {temperature} is not positive; the paper starts at 0.07")
        if temperature * max_scale < 1:
            raise ValueError(
                f"temperature {temperature} is a factor of {1 / temperature:.4g}, above max_scale {max_scale:g}; "
                "raise one of them"
            )
        if exchange not in EXCHANGES:
            raise ValueError(f"exchange {exchange!r} is none of {', '.join(map(repr, EXCHANGES))}")
        self.temperature = temperature
        self.repeated_captions = repeated_captions
        self.max_scale = max_scale
        self.exchange = exchange

    def setup(self, model: CLIP) -> None:
        """Sets the initial temperature."""
        with torch.no_grad():
            model.logit_scale.fill_(math.log(1 / self.temperature))

    def encode(self, model: CLIP, batch: Batch) -> dict[str, Tensor]:
        """Features of both towers, and the identities of the captions."""
        return {
            "image_features": model.encode_image(model.normalize(batch.image)),
            "text_features": model.encode_text(batch.text, batch.length),
            "text_id": batch.text_id,
        }

    def reduce(self, model: CLIP, encoded: dict[str, Tensor], group: ProcessGroup | None = None) -> dict[str, Tensor]:
        """The loss over the batch of all processes, and the share of pairs found in it."""
        with torch.autocast(encoded["image_features"].device.type, enabled=False):
            image_embeds = F.normalize(_at_least_float32(encoded["image_features"]), dim=1)
            text_embeds = F.normalize(_at_least_float32(encoded["text_features"]), dim=1)
            scale = _at_least_float32(model.logit_scale).exp()
            pairing = self._pairing(encoded["text_id"], group)
            loss, shares = self.loss(image_embeds, text_embeds, scale, pairing)
        return {
            "loss": loss,
            "pairs": torch.tensor(pairing.exchange.total),
            "image_to_text_recall_at_1": shares[0],
            "text_to_image_recall_at_1": shares[1],
        }

    def _pairing(self, text_id: Int[Tensor, "batch"], group: ProcessGroup | None) -> Pairing:
        exchange = EXCHANGES[self.exchange].between(text_id, group)
        all_text_id = exchange.joined(text_id)
        repeats = None
        if self.repeated_captions:
            repeats = Repeats(text_id, all_text_id, exchange.own.start, uniform=self.uniform)
        return Pairing(exchange, repeats, text_id, all_text_id)

    @abstractmethod
    def loss(
        self,
        image_embeds: Float[Tensor, "batch embed_dim"],
        text_embeds: Float[Tensor, "batch embed_dim"],
        scale: Float[Tensor, ""],
        pairing: Pairing,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, "2"]]:
        """The loss of the whole batch, and the shares of images and of texts whose nearest is their own."""

    def scorer(self, model: CLIP, tokenizer: Tokenizer) -> Scorer:
        """Scores classes by the cosine similarity to the mean embedding of their prompts."""
        return ContrastiveScorer(model, tokenizer)


def _at_least_float32(value: Tensor) -> Tensor:
    return value if value.dtype == torch.float64 else value.float()
