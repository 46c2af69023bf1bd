"""What the objectives share that predict the text from the image alone, and so have no space for texts."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributed import ProcessGroup

from clip_lightning.models import CLIP, TextEncoder
from clip_lightning.objectives.base import Objective
from clip_lightning.objectives.exchange import GatherExchange


class PredictionObjective(Objective):
    """Base of what is learned by predicting each text from its image's features.

    The vocabulary is that of the configured text tower, which the model then is without: it would stay as it was
    drawn, and what asked it for embeddings of texts would get them.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"image"})

    def setup(self, model: CLIP) -> None:
        """Makes the head for the model's features and vocabulary, and takes the text tower out of the model.

        Raises:
            ValueError: If there is no text tower to tell the vocabulary.
        """
        if model.text_encoder is None:
            raise ValueError(f"{type(self).__name__} takes its vocabulary from the text encoder; give the model one")
        self.make_head(model.embed_dim, model.text_encoder)
        model.text_encoder = model.text_projection = None

    @abstractmethod
    def make_head(self, feature_dim: int, text_encoder: TextEncoder) -> None:
        """Makes what predicts texts.

        Args:
            feature_dim: Channels of the image features.
            text_encoder: Has the sizes of the vocabulary and of the context.
        """

    def reduce(self, model: CLIP, encoded: dict[str, Tensor], group: ProcessGroup | None = None) -> dict[str, Tensor]:
        """The mean loss over all that was predicted, in all processes.

        With P processes, each returns P times its own terms' part of the gradient, so that the mean of the processes is
        the gradient of the whole batch, also where their texts have different numbers of tokens.

        Args:
            model: The model.
            encoded: "losses" and "weights" of each sample: the loss is the sum of the former over that of the latter.
            group: The processes; all of them by default.
        """
        losses = encoded["losses"]
        exchange = GatherExchange.between(losses, group)
        total = exchange.summed(encoded["weights"].sum()).clamp(min=1)
        loss = exchange.summed(losses.detach().sum()) / total
        own = losses.sum() * exchange.world / total
        # The value of the whole, to the last bit the same in all processes, with the gradient of its own part.
        return {"loss": loss + (own - own.detach()), "pairs": torch.tensor(exchange.total)}


class PredictionScorer:
    """Base of what scores classes by how well an image's features predict their texts."""

    kind: Literal["pooled", "features"] = "features"

    def text_embeds(self, texts: Sequence[str]) -> Float[Tensor, "texts embed_dim"]:
        """Refuses.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            "this model was trained to predict texts from images and has no space that both are in; retrieval and "
            "search by text need one that was trained by a contrastive objective"
        )
