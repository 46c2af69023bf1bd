"""The symmetric contrastive objective of CLIP (Radford et al. 2021, arXiv 2103.00020, section 2.3 and figure 3)."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributed import ProcessGroup

from clip_lightning.batch import Batch
from clip_lightning.models import CLIP
from clip_lightning.objectives.base import Objective, Scorer
from clip_lightning.objectives.gather import gather_rows, mean_over_processes
from clip_lightning.objectives.scoring import ContrastiveScorer
from clip_lightning.text import Tokenizer


def contrastive_loss(
    image_embeds: Float[Tensor, "batch embed_dim"],
    text_embeds: Float[Tensor, "batch embed_dim"],
    scale: Float[Tensor, ""],
    text_id: Int[Tensor, "batch"] | None = None,
) -> Float[Tensor, ""]:
    """Symmetric cross-entropy over the similarities of a batch of pairs.

    Row i of each input is one pair. Every other row is its negative, unless it has the same caption: then both are
    positives, and the target is uniform over them (Yang et al. 2022, arXiv 2204.03610, section 3.2).

    Args:
        image_embeds: L2-normalised image embeddings.
        text_embeds: L2-normalised text embeddings, paired by row.
        scale: ``logit_scale.exp()``, the inverse temperature, at most 100.
        text_id: Identity of each caption; equal ids are positives. None: no caption repeats.

    Returns:
        Mean loss in nats; ``log(batch)`` when all similarities are equal.

    Raises:
        ValueError: If the two batches differ in length.

    Source: Radford et al. 2021, figure 3.

    Example:
        >>> eye = torch.eye(2)
        >>> round(contrastive_loss(eye, eye, torch.tensor(1.0)).item(), 4)
        0.3133
    """
    if len(image_embeds) != len(text_embeds):
        raise ValueError(f"{len(image_embeds)} image and {len(text_embeds)} text embeddings are not pairs")
    return (
        _one_direction(image_embeds, text_embeds, scale, text_id, text_id, 0)
        + _one_direction(text_embeds, image_embeds, scale, text_id, text_id, 0)
    ) / 2


def _one_direction(
    queries: Float[Tensor, "rows embed_dim"],
    candidates: Float[Tensor, "columns embed_dim"],
    scale: Tensor,
    query_id: Int[Tensor, "rows"] | None,
    candidate_id: Int[Tensor, "columns"] | None,
    offset: int,
) -> Tensor:
    """Cross-entropy of each query over all candidates, of which row ``offset + i`` belongs to query i."""
    logits = scale * queries @ candidates.T
    if query_id is None or candidate_id is None:
        return F.cross_entropy(logits, torch.arange(len(queries), device=logits.device) + offset)
    positive = query_id[:, None] == candidate_id[None, :]
    mean_positive = (logits * positive).sum(dim=1) / positive.sum(dim=1)
    return (logits.logsumexp(dim=1) - mean_positive).mean()


class Contrastive(Objective):
    """Images and texts of a pair attract, all others of the batch repel, in both directions.

    The batch is that of all processes: embeddings are gathered with exact gradients. Logits and the loss are fp32
    whatever the precision of the towers.

    Args:
        temperature: Initial temperature; its inverse multiplies the cosine similarities and is learned.
        repeated_captions: Whether captions that repeat in a batch count as positives of each other's images. Exactly
            the plain loss when nothing repeats.
        max_scale: Largest factor that the temperature may learn. Where there are few pictures of each caption, a low
            one, such as 15, keeps captions near to what their pictures have in common, not to what sets them apart.

    Raises:
        ValueError: If the temperature is not positive, or its inverse exceeds ``max_scale``.

    Source: Radford et al. 2021, section 2.3; temperature: section 2.5.
    """

    reports = ("loss", "image_to_text_recall_at_1", "text_to_image_recall_at_1")

    def __init__(self, temperature: float = 0.07, repeated_captions: bool = True, max_scale: float = 100.0) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature {temperature} is not positive; the paper starts at 0.07")
        if temperature * max_scale < 1:
            raise ValueError(
                f"temperature {temperature} is a factor of {1 / temperature:.4g}, above max_scale {max_scale:g}; "
                "raise one of them"
            )
        self.temperature = temperature
        self.max_scale = max_scale
        self.repeated_captions = repeated_captions

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
            return self._reduce(model, encoded, group)

    def _reduce(self, model: CLIP, encoded: dict[str, Tensor], group: ProcessGroup | None) -> dict[str, Tensor]:
        image_embeds = F.normalize(_at_least_float32(encoded["image_features"]), dim=1)
        text_embeds = F.normalize(_at_least_float32(encoded["text_features"]), dim=1)
        scale = _at_least_float32(model.logit_scale).exp()
        text_id = encoded["text_id"]
        all_images, offset = gather_rows(image_embeds, group)
        all_texts, _ = gather_rows(text_embeds, group)
        with torch.no_grad():
            all_text_id, _ = gather_rows(text_id, group)
        query_id, candidate_id = (text_id, all_text_id) if self.repeated_captions else (None, None)
        own = (
            _one_direction(image_embeds, all_texts, scale, query_id, candidate_id, offset)
            + _one_direction(text_embeds, all_images, scale, query_id, candidate_id, offset)
        ) / 2
        size = len(image_embeds)
        # The gradient is that of this process's rows; the value shown is that of the whole batch.
        loss = own + (mean_over_processes(own, size, group) - own.detach())
        with torch.no_grad():
            found = {
                "image_to_text_recall_at_1": _share_found(image_embeds, all_texts, text_id, all_text_id),
                "text_to_image_recall_at_1": _share_found(text_embeds, all_images, text_id, all_text_id),
            }
            shares = {name: mean_over_processes(value, size, group) for name, value in found.items()}
        return {"loss": loss, "pairs": torch.tensor(len(all_images)), **shares}

    def scorer(self, model: CLIP, tokenizer: Tokenizer) -> Scorer:
        """Scores classes by the cosine similarity to the mean embedding of their prompts."""
        return ContrastiveScorer(model, tokenizer)


def _at_least_float32(value: Tensor) -> Tensor:
    return value if value.dtype == torch.float64 else value.float()


def _share_found(queries: Tensor, candidates: Tensor, query_id: Tensor, candidate_id: Tensor) -> Tensor:
    """Share of queries whose nearest candidate has their caption."""
    nearest = (queries @ candidates.T).argmax(dim=1)
    return (candidate_id[nearest] == query_id).to(queries.dtype).mean()
