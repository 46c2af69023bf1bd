"""Learns from a trained model how alike images and texts are, beside learning which belong together."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributed import ProcessGroup

from clip_lightning.batch import Batch
from clip_lightning.models import CLIP, Pixels
from clip_lightning.objectives.contrastive import Contrastive
from clip_lightning.objectives.exchange import EXCHANGES, Exchange, ExchangeName, GatherExchange
from clip_lightning.objectives.tiles import TILE_SIZE, LogSumExp, Tile, Tiles, check_once, dot, moved
from clip_lightning.spec import HasSpec
from clip_lightning.text import Tokenizer

VIEW = "teacher"
"""Name of the version of a batch that the teacher sees."""


class Teacher(HasSpec, ABC):
    """A trained model that is asked and never changed.

    It is no module, so neither an optimiser nor a checkpoint nor a strategy comes upon its weights; a checkpoint names
    it by how it was built.
    """

    @property
    @abstractmethod
    def pixels(self) -> Pixels:
        """Size and normalisation of its images."""

    @property
    @abstractmethod
    def tokenizer(self) -> Tokenizer:
        """The one that it was trained with."""

    @property
    @abstractmethod
    def scale(self) -> float:
        """Its factor on cosine similarities."""

    @abstractmethod
    def embeds(self, batch: Batch) -> tuple[Float[Tensor, "batch embed_dim"], Float[Tensor, "batch embed_dim"]]:
        """Embeddings of images and texts, of unit length, of any number of dimensions, without gradients."""


def distillation_loss(
    image_embeds: Float[Tensor, "batch embed_dim"],
    text_embeds: Float[Tensor, "batch embed_dim"],
    scale: Float[Tensor, ""],
    teacher_image_embeds: Float[Tensor, "batch teacher_dim"],
    teacher_text_embeds: Float[Tensor, "batch teacher_dim"],
    teacher_scale: float,
    *,
    tile_size: int = TILE_SIZE,
) -> Float[Tensor, ""]:
    """How far a model's choice among the texts and the images of a batch is from a teacher's.

    Both choose a text for each image, and an image for each text, by the softmax of their scaled cosines. With the
    logits s_ij of the model, the teacher's z_ij, and p, q and P, Q the softmax of either along rows and along columns,
    the loss is the mean of both Kullback-Leibler divergences, and its gradient that of the cross-entropy,

        L = 1/(2N) sum_ij [ P_ij log(P_ij / p_ij) + Q_ij log(Q_ij / q_ij) ]
        g_ij = dL/ds_ij = 1/(2N) [ p_ij + q_ij - P_ij - Q_ij ]
        dL/du_i = scale sum_j g_ij v_j,   dL/dv_j = scale sum_i g_ij u_i,   dL/dscale = sum_i u_i . (sum_j g_ij v_j).

    One walk over the tiles finds the log-sum-exps of rows and columns, a second one the loss and all gradients.

    Args:
        image_embeds: L2-normalised image embeddings. Half precisions are computed with as fp32.
        text_embeds: L2-normalised text embeddings, paired by row.
        scale: ``logit_scale.exp()``, the inverse temperature.
        teacher_image_embeds: The teacher's of the same images.
        teacher_text_embeds: The teacher's of the same texts.
        teacher_scale: The teacher's inverse temperature.
        tile_size: Rows and columns of the logits that are there at once, at least 1.

    Returns:
        Nats, 0 where both choose alike. It can be differentiated once, and by the model's values alone.

    Source: Hinton et al. 2015 (arXiv 1503.02531), section 2; between images and texts: Yang et al. 2024 (arXiv
        2307.12732), section 3.3, contrastive relational distillation, and open_clip's ``DistillClipLoss``.
    """
    exchange = GatherExchange([len(image_embeds)])
    teacher = teacher_image_embeds, teacher_text_embeds, teacher_scale
    return _loss(image_embeds, text_embeds, scale, teacher, exchange, tile_size)


def _loss(
    images: Tensor,
    texts: Tensor,
    scale: Tensor,
    teacher: tuple[Tensor, Tensor, float],
    exchange: Exchange,
    tile_size: int = TILE_SIZE,
) -> Tensor:
    # Within the function gradients are always off.
    walks = _Walks(images, scale, teacher, exchange, tile_size, differentiated=torch.is_grad_enabled())
    loss: Tensor = _DistillationLoss.apply(images, texts, scale, walks)
    return loss


class _DistillationLoss(torch.autograd.Function):
    """The loss of the whole batch, and in the backward pass P times this process's terms of the gradient."""

    @staticmethod
    def forward(context: Any, images: Tensor, texts: Tensor, scale: Tensor, walks: "_Walks") -> Tensor:
        with torch.autocast(images.device.type, enabled=False):
            text_sums = walks.take(texts)
            loss = walks.exchange.summed(walks.losses.sum()) / (2 * walks.exchange.total)
        context.exchange = walks.exchange
        context.save_for_backward(images, texts, scale, walks.image_sums, text_sums)
        return loss

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        images, texts, scale, image_sums, text_sums = context.saved_tensors
        check_once()
        with torch.autocast(images.device.type, enabled=False):
            factor = gradient.to(image_sums) * context.exchange.world / (2 * context.exchange.total)
            of_scale = dot(images, image_sums) * factor
            factor = factor * scale.to(factor)
        of_images, of_texts = (image_sums * factor).to(images.dtype), (text_sums * factor).to(texts.dtype)
        return of_images, of_texts, of_scale.to(scale.dtype), None


class _Walks:
    """What both walks over the tiles sum up for this process's images.

    Attributes:
        losses: 2N times the loss's terms, by image.
        image_sums: Sums of 2N g_ij v_j, by image; zero where nothing is differentiated.
    """

    def __init__(
        self,
        images: Tensor,
        scale: Tensor,
        teacher: tuple[Tensor, Tensor, float],
        exchange: Exchange,
        tile_size: int,
        *,
        differentiated: bool,
    ) -> None:
        images, scale = images.detach(), scale.detach()
        self.exchange, self.differentiated = exchange, differentiated
        self.dim = images.shape[1]
        teacher_images, self.teacher_texts, teacher_scale = teacher
        self.tiles = Tiles(images, scale, exchange.own.start, tile_size)
        self.teacher_tiles = Tiles(
            teacher_images.to(self.tiles.dtype), scale.new_tensor(teacher_scale), exchange.own.start, tile_size
        )
        self.losses = self.tiles.like.new_zeros(len(images))
        self.image_sums = self.tiles.like.new_zeros(images.shape)

    def take(self, texts: Tensor) -> Tensor:
        """Walks twice.

        Returns:
            Sums of 2N g_ij u_i by text, of all processes' images; none where nothing is differentiated.
        """
        # The texts of both models travel side by side.
        both = torch.cat([texts.to(self.tiles.dtype), self.teacher_texts.to(self.tiles.dtype)], dim=1)
        self._find_sums(both)
        if self.differentiated:
            return self.exchange.gradients(both, self._block)
        for place, block in self.exchange.blocks(both):
            self._block(place, block)
        return self.tiles.like

    def _find_sums(self, both: Tensor) -> None:
        """The log-sum-exps of rows and of all columns, of both models."""
        total, like = self.exchange.total, self.tiles.like
        self.rows, self.teacher_rows = (LogSumExp.of_nothing(len(self.losses), like) for _ in range(2))
        columns, teacher_columns = (LogSumExp.of_nothing(total, like) for _ in range(2))
        for place, block in self.exchange.blocks(both):
            for tile, teacher in self._over(block, place):
                where = moved(tile.columns, place.start)
                for found, of_rows, of_columns in (
                    (tile, self.rows, columns),
                    (teacher, self.teacher_rows, teacher_columns),
                ):
                    of_rows.add(tile.rows, found.logits, 1, found.scratch)
                    of_columns.add(where, found.logits, 0, found.scratch)
        stacked = self.exchange.stacked(torch.stack([*columns, *teacher_columns])).unbind(1)
        self.columns, self.teacher_columns = LogSumExp(*stacked[:2]).merged(), LogSumExp(*stacked[2:]).merged()

    def _over(self, block: Tensor, place: slice) -> "zip[tuple[Tile, Tile]]":
        """Tiles of the model and of its teacher for the same images and texts."""
        texts, teacher_texts = block[:, : self.dim], block[:, self.dim :]
        return zip(self.tiles.over(texts, place), self.teacher_tiles.over(teacher_texts, place), strict=True)

    def _block(self, place: slice, block: Tensor) -> Tensor:
        text_sums = self.tiles.like.new_zeros((len(block), self.dim) if self.differentiated else 0)
        for tile, teacher in self._over(block, place):
            weights = torch.zeros_like(tile.logits)
            where = moved(tile.columns, place.start)
            for dim, at, own, others in (
                (1, tile.rows, self.rows, self.teacher_rows),
                (0, where, self.columns, self.teacher_columns),
            ):
                log_p, log_teacher = own.log_softmax(at, tile.logits, dim), others.log_softmax(at, teacher.logits, dim)
                probability = log_teacher.exp()
                self.losses[tile.rows] += (probability * (log_teacher - log_p)).sum(dim=1)
                weights += log_p.exp_().sub_(probability)
            if self.differentiated:
                self.image_sums[tile.rows].addmm_(weights, tile.texts)
                text_sums[tile.columns].addmm_(weights.T, tile.images)
        return text_sums


class Distillation(Contrastive):
    """Images and texts are to be as alike as a trained model finds them, and those of a pair alike.

    The loss is (1 - weight) times the contrastive one, and weight times ``distillation_loss``. The teacher sees the
    same crops and captions, each in its own size and tokens. Where a batch is encoded in parts, it is asked twice.

    Args:
        teacher: The trained model, such as ``PretrainedTeacher``. It is loaded when training begins, and not needed to
            use what was trained.
        weight: Share of the distillation in the loss, above 0; with 1 it is all that is learned.
        temperature: As in ``Contrastive``, and so are the further arguments.
        repeated_captions: Whether captions that repeat in a batch count as positives in the contrastive loss.
        repeated_images: The same of images.
        max_scale: Largest factor that the temperature may learn.
        exchange: How texts reach the images of other processes.

    Raises:
        ValueError: If ``weight`` is no share above 0, or an argument of ``Contrastive`` is out of its range.

    Source: Yang et al. 2024 (arXiv 2307.12732), section 3.3; the same crop for both: Beyer et al. 2022 (arXiv
        2106.05237), section 3.1.
    """

    reports = (*Contrastive.reports, "contrastive_loss", "distillation_loss")

    def __init__(
        self,
        teacher: Teacher,
        weight: float = 0.5,
        temperature: float = 0.07,
        repeated_captions: bool = True,
        repeated_images: bool = True,
        max_scale: float = 100.0,
        exchange: ExchangeName = "gather",
    ) -> None:
        super().__init__(temperature, repeated_captions, repeated_images, max_scale, exchange)
        if not 0 < weight <= 1:
            raise ValueError(f"weight {weight} is no share above 0 and up to 1; without distillation, use Contrastive")
        self.teacher = teacher
        self.weight = weight

    def views(self) -> dict[str, tuple[Pixels, Tokenizer]]:
        """What the teacher sees."""
        return {VIEW: (self.teacher.pixels, self.teacher.tokenizer)}

    def encode(self, model: CLIP, batch: Batch) -> dict[str, Tensor]:
        """Features of both towers, identities, and the teacher's embeddings."""
        image_embeds, text_embeds = self.teacher.embeds(batch.views[VIEW])
        teacher = {"teacher_image_embeds": image_embeds, "teacher_text_embeds": text_embeds}
        return {**super().encode(model, batch), **teacher}

    def reduce(self, model: CLIP, encoded: dict[str, Tensor], group: ProcessGroup | None = None) -> dict[str, Tensor]:
        """Both losses over the batch of all processes, and the share of pairs found in it."""
        reduced = super().reduce(model, encoded, group)
        teacher = encoded["teacher_image_embeds"], encoded["teacher_text_embeds"], self.teacher.scale
        exchange = EXCHANGES[self.exchange].between(encoded["text_id"], group)
        with torch.autocast(encoded["image_features"].device.type, enabled=False):
            distilled = _loss(*self.compared(model, encoded), teacher, exchange)
        contrastive = reduced["loss"]
        return {
            **reduced,
            "loss": (1 - self.weight) * contrastive + self.weight * distilled,
            "contrastive_loss": contrastive,
            "distillation_loss": distilled,
        }

    def chance_loss(self, pairs: int) -> None:
        """None: what equal similarities cost depends on the teacher."""
        return
