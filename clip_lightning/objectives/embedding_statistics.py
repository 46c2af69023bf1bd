"""How the embeddings of a batch lie and which logits they give, from a bounded number of its pairs."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

ROWS = 128
"""Pairs that are looked at: enough for two digits of a mean, and no load on a step."""


@torch.no_grad()
def embedding_statistics(
    encoded: Mapping[str, Shaped[Tensor, "batch ..."]], scale: Float[Tensor, ""]
) -> dict[str, Tensor]:
    """Mean cosine and effective rank of both towers' embeddings, and the logits of positives and negatives.

    Args:
        encoded: What an objective encodes: of interest are ``image_features``, ``text_features`` and ``text_id``, a
            pair of equal ids being no negative. Where one of them is missing, there is nothing to tell.
        scale: ``logit_scale.exp()``; a bias is not part of these logits.

    Returns:
        Scalars on the device: ``image_mean_cosine``, ``image_effective_rank``, the same of ``text``, and
        ``positive_logit_mean``, ``_std``, ``_max``, the same of ``negative``. NaN where there is no negative.
    """
    names = ("image_features", "text_features", "text_id")
    if not all(name in encoded for name in names):
        return {}
    image_features, text_features, text_id = (encoded[name][:ROWS] for name in names)
    with torch.autocast(image_features.device.type, enabled=False):
        image_embeds, text_embeds = (F.normalize(part.float(), dim=1) for part in (image_features, text_features))
        logits = scale.float() * image_embeds @ text_embeds.T
        same = text_id[:, None] == text_id[None, :]
        found = {}
        for name, embeds in (("image", image_embeds), ("text", text_embeds)):
            found[f"{name}_mean_cosine"] = mean_cosine(embeds)
            found[f"{name}_effective_rank"] = effective_rank(embeds)
        return found | _moments("positive", logits.diagonal()) | _moments("negative", logits, ~same)


def mean_cosine(embeds: Float[Tensor, "rows embed_dim"]) -> Float[Tensor, ""]:
    """Mean cosine between the embeddings of different rows: 1 where all are the same, near 0 where they are spread.

    Args:
        embeds: Of unit length.
    """
    rows = len(embeds)
    # All pairs at once: the square of the sum, less each row with itself.
    return (embeds.sum(dim=0).square().sum() - embeds.square().sum()) / max(1, rows * (rows - 1))


def effective_rank(embeds: Float[Tensor, "rows embed_dim"]) -> Float[Tensor, ""]:
    """Number of directions that the embeddings spread over, between 1 and the smaller of rows - 1 and dimensions.

    It is the participation ratio (sum l)**2 / sum l**2 of the eigenvalues l of their covariance, the effective rank by
    the entropy of order 2. Traces give it, so that no decomposition has to wait for the device.

    Args:
        embeds: Of unit length.

    Source: Roy and Vetterli 2007 ("The effective rank", EUSIPCO), with Shannon's entropy.
    """
    centred = embeds - embeds.mean(dim=0)
    product = centred @ centred.T if len(embeds) < embeds.shape[1] else centred.T @ centred
    # Below what rounding leaves, all rows are the same: one direction at most.
    is_spread = product.trace() > 1e-10 * len(embeds)
    return torch.where(is_spread, product.trace().square() / product.square().sum(), 1.0)


def _moments(name: str, logits: Tensor, chosen: Tensor | None = None) -> dict[str, Tensor]:
    """Mean, standard deviation and maximum of logits, of those that a mask chooses; its sizes stay on the device."""
    if chosen is None:
        chosen = torch.ones_like(logits, dtype=torch.bool)
    count = chosen.sum()
    mean = torch.where(chosen, logits, 0.0).sum() / count
    variance = torch.where(chosen, (logits - mean).square(), 0.0).sum() / count
    largest = torch.where(chosen, logits, -torch.inf).max()
    return {
        f"{name}_logit_mean": mean,
        f"{name}_logit_std": variance.sqrt(),
        f"{name}_logit_max": torch.where(count > 0, largest, torch.nan),
    }
