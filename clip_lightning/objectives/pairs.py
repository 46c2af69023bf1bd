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
        repeats: Further positives; None where none are looked for.
        identity: Captions and images of the whole batch, to count what is found; None where that is not asked for.
        tile_size: Rows and columns of a tile.
    """

    exchange: Exchange
    repeats: Repeats | None = None
    identity: Int[Tensor, "2 global_batch"] | None = None
    tile_size: int = TILE_SIZE


def alone(
    image_embeds: Float[Tensor, "batch embed_dim"],
    text_embeds: Float[Tensor, "batch embed_dim"],
    text_id: Int[Tensor, "batch"] | None,
    image_id: Int[Tensor, "batch"] | None,
    tile_size: int,
    *,
    uniform: bool,
) -> Pairing:
    """A batch that is whole on this process.

    Raises:
        ValueError: If the numbers of images, texts and identities differ.
    """
    if len(image_embeds) != len(text_embeds):
        raise ValueError(f"{len(image_embeds)} image and {len(text_embeds)} text embeddings are not pairs")
    identities = {"captions": text_id, "images": image_id}
    given = {name: identity for name, identity in identities.items() if identity is not None}
    for name, identity in given.items():
        if len(identity) != len(text_embeds):
            raise ValueError(f"{len(identity)} identities do not belong to {len(text_embeds)} {name}")
    exchange = GatherExchange([len(image_embeds)])
    repeats = Repeats([*given.values()], exchange.own, uniform=uniform) if given else None
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
        """Before the first tile, where what is found is to be counted."""
        if pairing.identity is None:
            return None
        own = pairing.exchange.own
        return cls(Nearest(own.stop - own.start, like), Nearest(pairing.exchange.total, like))

    def add(self, tile: Tile, place: slice) -> None:
        """Takes a tile of a block that has its place in the whole batch."""
        columns = moved(tile.columns, place.start)
        self.texts.add(tile.rows, tile.logits, 1, columns.start)
        self.images.add(columns, tile.logits, 0, tile.rows.start)

    def shares(self, pairing: Pairing) -> Float[Tensor, "2"]:
        """Which share of the images, and of the texts, have a neighbour with their caption, or of their image."""
        every = pairing.identity
        assert every is not None
        own = every[:, pairing.exchange.own]
        by_image = (every[:, self.texts.where] == own).any(dim=0).to(self.texts.largest).sum()
        is_found = (own[:, self.images.where] == every).any(dim=0).to(self.images.largest)
        largest, all_found = pairing.exchange.stacked(torch.stack([self.images.largest, is_found])).unbind(1)
        # Of processes with equal neighbours the first is taken, as one process would.
        by_text = all_found.gather(0, largest.argmax(dim=0, keepdim=True)).sum()
        return torch.stack([pairing.exchange.summed(by_image), by_text]) / pairing.exchange.total


class PairObjective(Objective):
    """Base of what is learned from each image with each text of the batch of all processes.

    Args:
        temperature: Initial temperature; its inverse multiplies the cosine similarities and is learned.
        repeated_captions: Whether captions that repeat in a batch count as positives of each other's images.
        repeated_images: Whether images that repeat in a batch count as positives of each other's captions.
        max_scale: Largest factor that the temperature may learn.
        exchange: How texts reach the images of other processes.

    Raises:
        ValueError: If the temperature is not positive, its inverse exceeds ``max_scale``, or there is no such exchange.
    """

    uniform = True
    """Whether the positives of an image share one target."""

    def __init__(
        self,
        temperature: float,
        repeated_captions: bool,
        repeated_images: bool,
        max_scale: float,
        exchange: ExchangeName,
    ) -> None:
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
        self.repeated_images = repeated_images
        self.max_scale = max_scale
        self.exchange = exchange

    def setup(self, model: CLIP) -> None:
        """Sets the initial temperature."""
        with torch.no_grad():
            model.logit_scale.fill_(math.log(1 / self.temperature))

    def encode(self, model: CLIP, batch: Batch) -> dict[str, Tensor]:
        """Features of both towers, and the identities of captions and images."""
        return {
            "image_features": model.encode_image(model.normalize(batch.image)),
            "text_features": model.encode_text(batch.text, batch.length),
            "text_id": batch.text_id,
            "image_id": batch.image_id,
        }

    def reduce(self, model: CLIP, encoded: dict[str, Tensor], group: ProcessGroup | None = None) -> dict[str, Tensor]:
        """The loss over the batch of all processes, and the share of pairs found in it."""
        with torch.autocast(encoded["image_features"].device.type, enabled=False):
            image_embeds, text_embeds, scale = self.compared(model, encoded)
            pairing = self._pairing(encoded["text_id"], encoded["image_id"], group)
            loss, shares = self.loss(image_embeds, text_embeds, scale, pairing)
        return {
            "loss": loss,
            "pairs": torch.tensor(pairing.exchange.total),
            "image_to_text_recall_at_1": shares[0],
            "text_to_image_recall_at_1": shares[1],
        }

    def _pairing(
        self, text_id: Int[Tensor, "batch"], image_id: Int[Tensor, "batch"], group: ProcessGroup | None
    ) -> Pairing:
        exchange = EXCHANGES[self.exchange].between(text_id, group)
        identity = exchange.joined(torch.stack([text_id, image_id], dim=1)).T.contiguous()
        switches = zip(identity, (self.repeated_captions, self.repeated_images), strict=True)
        looked_for = [one for one, is_looked_for in switches if is_looked_for]
        repeats = Repeats(looked_for, exchange.own, uniform=self.uniform) if looked_for else None
        return Pairing(exchange, repeats, identity)

    def compared(
        self, model: CLIP, encoded: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "batch embed_dim"], Float[Tensor, "batch embed_dim"], Float[Tensor, ""]]:
        """Embeddings of images and texts, and the factor on their cosines, in fp32 at least."""
        image_embeds, text_embeds = (
            F.normalize(_at_least_float32(encoded[f"{tower}_features"]), dim=1) for tower in ("image", "text")
        )
        return image_embeds, text_embeds, _at_least_float32(model.logit_scale).exp()

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
