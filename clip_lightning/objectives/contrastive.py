"""The symmetric contrastive objective of CLIP (Radford et al. 2021, arXiv 2103.00020, section 2.3 and figure 3)."""

import math
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_lightning.objectives.exchange import ExchangeName
from clip_lightning.objectives.pairs import Found, Pairing, PairObjective, alone
from clip_lightning.objectives.tiles import TILE_SIZE, LogSumExp, Tiles, check_once, dot, moved


def contrastive_loss(
    image_embeds: Float[Tensor, "batch embed_dim"],
    text_embeds: Float[Tensor, "batch embed_dim"],
    scale: Float[Tensor, ""],
    text_id: Int[Tensor, "batch"] | None = None,
    image_id: Int[Tensor, "batch"] | None = None,
    *,
    tile_size: int = TILE_SIZE,
) -> Float[Tensor, ""]:
    """Symmetric cross-entropy over the similarities of a batch of pairs, in memory that does not grow with its square.

    Row i of each input is one pair. Every other row is its negative, unless it has the same caption or the same image:
    then both are positives. With the n_i positives P(i) of image i and the log-sum-exp r_i of its logits, its loss is
    that of supervised contrastive learning with the mean outside the logarithm,

        1/n_i sum_{j in P(i)} (r_i - s_ij),

    a cross-entropy whose target is uniform over the positives, and a text's is the same over the images.

    With logits s_ij = scale u_i . v_j of image i and text j, the log-sum-exps r_i of row i and c_j of column j, and the
    mean t_ij of the targets of both directions, the loss and its gradient are

        L = 1/(2N) [ sum_i r_i + sum_j c_j - 2 sum_ij t_ij s_ij ]
        g_ij = dL/ds_ij = 1/(2N) [ exp(s_ij - r_i) + exp(s_ij - c_j) - 2 t_ij ]
        dL/du_i = scale sum_j g_ij v_j,   dL/dv_j = scale sum_i g_ij u_i,   dL/dscale = sum_i u_i . (sum_j g_ij v_j).

    So 2N numbers, r and c, are all that the backward pass needs beside the inputs. It computes the logits again, a tile
    at a time, turns each tile into g and adds its two products to the gradients: one product of matrices more than if
    the logits had been kept.

    Args:
        image_embeds: L2-normalised image embeddings. Half precisions are computed with as fp32.
        text_embeds: L2-normalised text embeddings, paired by row.
        scale: ``logit_scale.exp()``, the inverse temperature, at most 100.
        text_id: Identity of each caption; equal ids are positives. None: no caption repeats.
        image_id: Identity of each image, likewise.
        tile_size: Rows and columns of the logits that are there at once, at least 1.

    Returns:
        Mean loss in nats, in fp32, or fp64 for such embeddings; ``log(batch)`` when all similarities are equal. It can
        be differentiated once.

    Raises:
        ValueError: If the batches differ in length, or the tile size is below 1.

    Source: Radford et al. 2021, figure 3; positives: Khosla et al. 2020 (arXiv 2004.11362), equation 2, between images
        and texts as in Yang et al. 2022 (arXiv 2204.03610), section 3.2.

    Example:
        >>> eye = torch.eye(2)
        >>> round(contrastive_loss(eye, eye, torch.tensor(1.0)).item(), 4)
        0.3133
    """
    pairing = alone(image_embeds, text_embeds, text_id, image_id, tile_size, uniform=True)
    loss: Tensor = _ContrastiveLoss.apply(image_embeds, text_embeds, scale, pairing)[0]
    return loss


class _ContrastiveLoss(torch.autograd.Function):
    """The loss of the whole batch, and in the backward pass P times this process's terms of the gradient."""

    @staticmethod
    def forward(context: Any, images: Tensor, texts: Tensor, scale: Tensor, pairing: Pairing) -> tuple[Tensor, Tensor]:
        with torch.autocast(images.device.type, enabled=False):
            loss, shares, rows, columns = _forward(images, texts, scale, pairing)
        context.pairing = pairing
        context.save_for_backward(images, texts, scale, rows.largest, rows.total, columns.largest, columns.total)
        context.mark_non_differentiable(shares)
        return loss, shares

    @staticmethod
    def backward(context: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        images, texts, scale, *sums = context.saved_tensors
        check_once()
        with torch.autocast(images.device.type, enabled=False):
            image_sums, text_sums = _backward(
                images, texts, scale, LogSumExp(*sums[:2]), LogSumExp(*sums[2:]), context.pairing
            )
            exchange = context.pairing.exchange
            factor = gradient.to(image_sums) * exchange.world / (2 * exchange.total)
            of_scale = dot(images, image_sums) * factor
            factor = factor * scale.to(image_sums)
        return (
            image_sums.mul_(factor).to(images.dtype),
            text_sums.mul_(factor).to(texts.dtype),
            of_scale.to(scale.dtype),
            None,
        )


def _forward(
    images: Tensor, texts: Tensor, scale: Tensor, pairing: Pairing
) -> tuple[Tensor, Tensor, LogSumExp, LogSumExp]:
    """The loss, the shares found where they are asked for, and the log-sum-exps of rows and of all columns."""
    exchange, repeats = pairing.exchange, pairing.repeats
    tiles = Tiles(images, scale, exchange.own.start, pairing.tile_size)
    rows, columns = LogSumExp.of_nothing(len(images), tiles.like), LogSumExp.of_nothing(exchange.total, tiles.like)
    # Logits at the targets: those of the pairs are taken from the tiles, so that they cancel as they do in the formula.
    of_pairs, further = tiles.like.new_zeros((2, len(images)))
    found = Found.none_yet(tiles.like, pairing)
    for place, block in exchange.blocks(texts):
        for tile in tiles.over(block, place):
            rows.add(tile.rows, tile.logits, 1, tile.scratch)
            columns.add(moved(tile.columns, place.start), tile.logits, 0, tile.scratch)
            of_pairs[tile.pairs] = tile.diagonal(tile.logits)
            if found is not None:
                found.add(tile, place)
        if repeats is not None:
            of_images = repeats.of_images(block.to(tiles.dtype), place)
            further += tiles.scale * (images.to(tiles.dtype) * of_images).sum(dim=1)
    columns = LogSumExp(*exchange.stacked(torch.stack([*columns])).unbind(1)).merged()
    terms = rows.less(of_pairs, slice(None)) + columns.less(of_pairs, exchange.own) - 2 * further
    loss = exchange.summed(terms.sum()) / (2 * exchange.total)
    shares = tiles.like if found is None else found.shares(pairing)
    return loss, shares, rows, columns


def _backward(
    images: Tensor, texts: Tensor, scale: Tensor, rows: LogSumExp, columns: LogSumExp, pairing: Pairing
) -> tuple[Tensor, Tensor]:
    """Sums of 2N g_ij v_j by image and of 2N g_ij u_i by text."""
    repeats = pairing.repeats
    tiles = Tiles(images, scale, pairing.exchange.own.start, pairing.tile_size)
    image_sums = torch.zeros_like(images, dtype=tiles.dtype)

    def part(place: slice, block: Tensor) -> Tensor:
        text_sums = torch.zeros_like(block, dtype=tiles.dtype)
        for tile in tiles.over(block, place):
            weights = rows.softmax(tile.rows, tile.logits, 1, out=tile.scratch)
            weights += columns.softmax(moved(tile.columns, place.start), tile.logits, 0, out=tile.logits)
            tile.diagonal(weights).sub_(2)
            image_sums[tile.rows].addmm_(weights, tile.texts)
            text_sums[tile.columns].addmm_(weights.T, tile.images)
        if repeats is not None:
            image_sums.sub_(repeats.of_images(block.to(tiles.dtype), place), alpha=2)
            text_sums.sub_(repeats.of_texts(images.to(tiles.dtype), place), alpha=2)
        return text_sums

    text_sums = pairing.exchange.gradients(texts, part)
    return image_sums, text_sums


class Contrastive(PairObjective):
    """Images and texts of a pair attract, all others of the batch repel, in both directions.

    The batch is that of all processes, with exact gradients. Logits and the loss are fp32 whatever the precision of the
    towers, and there are never more of them than a tile.

    Args:
        temperature: Initial temperature; its inverse multiplies the cosine similarities and is learned.
        repeated_captions: Whether captions that repeat in a batch count as positives of each other's images. Exactly
            the plain loss when nothing repeats.
        repeated_images: The same of images that repeat, and each other's captions.
        max_scale: Largest factor that the temperature may learn. Where there are few pictures of each caption, a low
            one, such as 15, keeps captions near to what their pictures have in common, not to what sets them apart.
        exchange: How texts reach the images of other processes: "gather" holds those of all at once, "ring" passes them
            round, for batches whose embeddings a device cannot hold. The loss is the same.

    Raises:
        ValueError: If the temperature is not positive, its inverse exceeds ``max_scale``, or there is no such exchange.

    Source: Radford et al. 2021, section 2.3; temperature: section 2.5.
    """

    reports: ClassVar[tuple[str, ...]] = ("loss", "image_to_text_recall_at_1", "text_to_image_recall_at_1")

    def __init__(
        self,
        temperature: float = 0.07,
        repeated_captions: bool = True,
        repeated_images: bool = True,
        max_scale: float = 100.0,
        exchange: ExchangeName = "gather",
    ) -> None:
        super().__init__(temperature, repeated_captions, repeated_images, max_scale, exchange)

    def loss(
        self,
        image_embeds: Float[Tensor, "batch embed_dim"],
        text_embeds: Float[Tensor, "batch embed_dim"],
        scale: Float[Tensor, ""],
        pairing: Pairing,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, "2"]]:
        """The loss of the whole batch, and the shares of images and of texts whose nearest is their own."""
        loss, shares = _ContrastiveLoss.apply(image_embeds, text_embeds, scale, pairing)
        return loss, shares

    def chance_loss(self, pairs: int) -> float | None:
        """The logarithm of the batch: each pair is as likely as any other."""
        return math.log(pairs)
