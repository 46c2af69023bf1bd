"""The sigmoid objective of SigLIP (Zhai et al. 2023, arXiv 2303.15343): each pair is judged by itself."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from clip_lightning.models import CLIP
from clip_lightning.objectives.exchange import ExchangeName
from clip_lightning.objectives.pairs import Found, Pairing, PairObjective, alone
from clip_lightning.objectives.tiles import TILE_SIZE, Tiles, check_once, dot


def sigmoid_loss(
    image_embeds: Float[Tensor, "batch embed_dim"],
    text_embeds: Float[Tensor, "batch embed_dim"],
    scale: Float[Tensor, ""],
    bias: Float[Tensor, ""],
    text_id: Int[Tensor, "batch"] | None = None,
    image_id: Int[Tensor, "batch"] | None = None,
    *,
    tile_size: int = TILE_SIZE,
) -> Float[Tensor, ""]:
    """Binary cross-entropy of every image with every text of a batch, in memory that does not grow with its square.

    Row i of each input is one pair, which belongs together; every other two do not, unless the caption or the image is
    the same.

    With logits z_ij = scale u_i . v_j + bias of image i and text j, and y_ij 1 for what belongs together and else 0,
    the loss and its gradient are

        L = 1/N sum_ij [ log(1 + exp(z_ij)) - y_ij z_ij ]
        g_ij = dL/dz_ij = 1/N [ sigmoid(z_ij) - y_ij ]
        dL/du_i = scale sum_j g_ij v_j,   dL/dv_j = scale sum_i g_ij u_i,
        dL/dscale = sum_i u_i . (sum_j g_ij v_j),   dL/dbias = sum_ij g_ij.

    No term depends on another, so one walk over the tiles computes the loss and all gradients, which the backward pass
    multiplies with what comes from above.

    Args:
        image_embeds: L2-normalised image embeddings. Half precisions are computed with as fp32.
        text_embeds: L2-normalised text embeddings, paired by row.
        scale: ``logit_scale.exp()``, the inverse temperature; it begins at 10.
        bias: ``logit_bias``, since most of all pairs do not belong together; it begins at -10.
        text_id: Identity of each caption; equal ids belong together. None: no caption repeats.
        image_id: Identity of each image, likewise.
        tile_size: Rows and columns of the logits that are there at once, at least 1.

    Returns:
        Sum over all pairs in nats over the number of images, in fp32, or fp64 for such embeddings. It can be
        differentiated once.

    Raises:
        ValueError: If the batches differ in length, or the tile size is below 1.

    Source: Zhai et al. 2023, section 3.2 and algorithm 1.

    Example:
        >>> eye = torch.eye(2)
        >>> round(sigmoid_loss(eye, eye, torch.tensor(0.0), torch.tensor(0.0)).item(), 4)
        1.3863
    """
    pairing = alone(image_embeds, text_embeds, text_id, image_id, tile_size, uniform=False)
    return _loss(image_embeds, text_embeds, scale, bias, pairing)[0]


def _loss(images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor, pairing: Pairing) -> tuple[Tensor, Tensor]:
    """The loss of the whole batch, and the shares found where they are asked for."""
    # Within the function gradients are always off.
    loss, shares = _SigmoidLoss.apply(images, texts, scale, bias, pairing, torch.is_grad_enabled())
    return loss, shares


class _SigmoidLoss(torch.autograd.Function):
    """The loss of the whole batch, and in the backward pass P times this process's terms of the gradient."""

    @staticmethod
    def forward(
        context: Any, images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor, pairing: Pairing, differentiated: bool
    ) -> tuple[Tensor, Tensor]:
        terms = _Terms(images, scale, bias, pairing, differentiated=differentiated)
        with torch.autocast(images.device.type, enabled=False):
            text_sums = terms.walk(texts)
            loss = pairing.exchange.summed(terms.losses.sum()) / pairing.exchange.total
            shares = terms.like if terms.found is None else terms.found.shares(pairing)
        context.exchange = pairing.exchange
        context.save_for_backward(images, texts, scale, bias, terms.image_sums, text_sums, terms.bias_sums)
        context.mark_non_differentiable(shares)
        return loss, shares

    @staticmethod
    def backward(context: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None, None]:
        images, texts, scale, bias, image_sums, text_sums, bias_sums = context.saved_tensors
        check_once()
        with torch.autocast(images.device.type, enabled=False):
            factor = gradient.to(image_sums) * context.exchange.world / context.exchange.total
            of_scale = dot(images, image_sums) * factor
            of_bias = bias_sums.sum() * factor
            factor = factor * scale.to(factor)
            of_images, of_texts = (
                torch.mul(sums, factor, out=torch.empty_like(rows))
                for sums, rows in ((image_sums, images), (text_sums, texts))
            )
        return of_images, of_texts, of_scale.to(scale.dtype), of_bias.to(bias.dtype), None, None


class _Terms:
    """What one walk over the tiles sums up for this process's images.

    Attributes:
        losses: N times the loss's terms, by image.
        image_sums: Sums of N g_ij v_j, by image; zero where nothing is differentiated.
        bias_sums: Sums of N g_ij, by image, likewise.
    """

    def __init__(self, images: Tensor, scale: Tensor, bias: Tensor, pairing: Pairing, *, differentiated: bool) -> None:
        self.tiles = Tiles(images, scale, pairing.exchange.own.start, pairing.tile_size)
        self.like = self.tiles.like
        self.images, self.bias, self.pairing = images, bias.to(self.like), pairing
        self.differentiated = differentiated
        self.losses, self.bias_sums = self.like.new_zeros((2, len(images)))
        self.image_sums = self.like.new_zeros(images.shape if differentiated else 0)
        self.found = Found.none_yet(self.like, pairing)

    def walk(self, texts: Tensor) -> Tensor:
        """Takes all tiles.

        Returns:
            Sums of N g_ij u_i by text, of all processes' images; none where nothing is differentiated.
        """
        if self.differentiated:
            return self.pairing.exchange.gradients(texts, self._block)
        for place, block in self.pairing.exchange.blocks(texts):
            self._block(place, block)
        return self.like

    def _block(self, place: slice, block: Tensor) -> Tensor:
        text_sums = self.like.new_zeros(block.shape if self.differentiated else 0)
        for tile in self.tiles.over(block, place):
            if self.found is not None:
                self.found.add(tile, place)
            # From here on the sign of a logit says which answer is wrong: it is turned where image and text are a pair.
            logits = tile.logits.add_(self.bias)
            tile.diagonal(logits).neg_()
            weights = torch.sigmoid(logits, out=tile.scratch)
            tile.diagonal(weights).neg_()
            self.losses[tile.rows] -= F.logsigmoid(logits.neg_()).sum(dim=1)
            if self.differentiated:
                self.bias_sums[tile.rows] += weights.sum(dim=1)
                self.image_sums[tile.rows].addmm_(weights, tile.texts)
                text_sums[tile.columns].addmm_(weights.T, tile.images)
        if self.pairing.repeats is not None:
            self._repeat(place, block.to(self.like), text_sums)
        return text_sums

    def _repeat(self, place: slice, texts: Tensor, text_sums: Tensor) -> None:
        """Takes the further texts of a block that belong to images, for which y is 1 too."""
        repeats, images = self.pairing.repeats, self.images.to(self.like)
        assert repeats is not None
        of_images = repeats.of_images(texts, place)
        count = repeats.counts(place).to(self.like)
        self.losses -= self.tiles.scale * (images * of_images).sum(dim=1) + self.bias * count
        if self.differentiated:
            self.bias_sums -= count
            self.image_sums -= of_images
            text_sums -= repeats.of_texts(images, place)


class Sigmoid(PairObjective):
    """Of each image and each text of the batch it is learned whether they belong together, each two by themselves.

    The batch is that of all processes, with exact gradients. Logits and the loss are fp32 whatever the precision of the
    towers, and there are never more of them than a tile.

    Args:
        temperature: Initial temperature; its inverse multiplies the cosine similarities and is learned.
        bias: What is added to them at first; it is learned as ``logit_bias``. Few of all pairs belong together, and a
            low one says so from the start.
        repeated_captions: Whether images and texts with the same caption belong together. Exactly the plain loss when
            nothing repeats.
        repeated_images: The same of images, and texts of the same image.
        max_scale: Largest factor that the temperature may learn.
        exchange: How texts reach the images of other processes: "gather" holds those of all at once, "ring" passes them
            round, for batches whose embeddings a device cannot hold. The loss is the same.

    Raises:
        ValueError: If the temperature is not positive, its inverse exceeds ``max_scale``, or there is no such exchange.

    Source: Zhai et al. 2023, section 3.2; initial temperature and bias: table 4.
    """

    uniform = False
    reports = ("loss", "image_to_text_recall_at_1", "text_to_image_recall_at_1", "bias")

    def __init__(
        self,
        temperature: float = 0.1,
        bias: float = -10.0,
        repeated_captions: bool = True,
        repeated_images: bool = True,
        max_scale: float = 100.0,
        exchange: ExchangeName = "gather",
    ) -> None:
        super().__init__(temperature, repeated_captions, repeated_images, max_scale, exchange)
        self.bias = bias
        self.logit_bias = nn.Parameter(torch.tensor(float(bias)))

    def setup(self, model: CLIP) -> None:
        """Sets the initial temperature and bias."""
        super().setup(model)
        with torch.no_grad():
            self.logit_bias.fill_(self.bias)

    def reduce(self, model: CLIP, encoded: dict[str, Tensor], group: ProcessGroup | None = None) -> dict[str, Tensor]:
        """The loss over the batch of all processes, the share of pairs found in it, and the bias."""
        return {**super().reduce(model, encoded, group), "bias": self.logit_bias.detach()}

    def loss(
        self,
        image_embeds: Float[Tensor, "batch embed_dim"],
        text_embeds: Float[Tensor, "batch embed_dim"],
        scale: Float[Tensor, ""],
        pairing: Pairing,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, "2"]]:
        """The loss of the whole batch, and the shares of images and of texts whose nearest is their own."""
        return _loss(image_embeds, text_embeds, scale, self.logit_bias, pairing)
