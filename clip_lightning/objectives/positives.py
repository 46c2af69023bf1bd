"""Captions and images that repeat in a batch: which further texts belong to which images, without a matrix of them."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Repeats:
    """The matrix R of further positives, as what it does to rows.

    Image i and text j of the whole batch are positives of each other, P_ij = 1, where the captions of their pairs are
    equal, or the images. If the positives of a row share one target, an image has n_i = sum_j P_ij of them, a text
    n_j, and R_ij = P_ij (1/n_i + 1/n_j) / 2: the mean of the targets of both directions, which differ where an image
    has more captions than another image of one of these captions. Else R_ij = P_ij. In both cases it is 1 less for an
    image and its own text.

    Equal captions fall into groups, and so do equal images and pairs that are equal in both, and P is the sum of the
    first two less the third. So R X consists of sums of rows of X for each group that are handed to its members: as
    much work and memory as X itself.

    Args:
        identities: Of the whole batch, what makes pairs each other's positives: captions, images, or both.
        own: Place of this process's images in it.
        uniform: Whether the positives of a row share one target.
    """

    def __init__(self, identities: Sequence[Int[Tensor, "global_batch"]], own: slice, *, uniform: bool) -> None:
        ranks = [_ranks(identity) for identity in identities]
        signed = [(1, rank) for rank in ranks]
        if len(ranks) == 2:
            signed.append((-1, _ranks(ranks[0] * len(ranks[0]) + ranks[1])))
        self._own = own
        self._groups = [(sign, _Groups(rank, own)) for sign, rank in signed]
        positives = torch.stack([sign * _sizes(rank) for sign, rank in signed]).sum(dim=0)
        self._divisor = positives if uniform else torch.ones_like(positives)

    def of_images(self, texts: Float[Tensor, "block embed_dim"], place: slice) -> Float[Tensor, "batch embed_dim"]:
        """Rows of R times the texts of a block, which lies at a place of the whole batch."""
        further = texts.new_zeros((self._own.stop - self._own.start, texts.shape[1]))
        weighted = texts * self._weights(place, texts)
        for sign, groups in self._groups:
            further.add_(groups.of_images(weighted, place), alpha=sign)
            further.addcmul_(groups.of_images(texts, place), self._weights(self._own, texts), value=sign)
        ours, theirs = self._shared(place)
        further[ours] -= texts[theirs]
        return further

    def of_texts(self, images: Float[Tensor, "batch embed_dim"], place: slice) -> Float[Tensor, "block embed_dim"]:
        """Columns of R, of the texts at a place, times this process's images."""
        further = images.new_zeros((place.stop - place.start, images.shape[1]))
        weighted = images * self._weights(self._own, images)
        for sign, groups in self._groups:
            further.add_(groups.of_texts(weighted, place), alpha=sign)
            further.addcmul_(groups.of_texts(images, place), self._weights(place, images), value=sign)
        ours, theirs = self._shared(place)
        further[theirs] -= images[ours]
        return further

    def counts(self, place: slice) -> Int[Tensor, "batch"]:
        """Number of further positives that each image has at a place, whatever their weights."""
        one = torch.ones_like(self._divisor[place])[:, None]
        counts = torch.stack([sign * groups.of_images(one, place)[:, 0] for sign, groups in self._groups]).sum(dim=0)
        counts[self._shared(place)[0]] -= 1
        return counts

    def _weights(self, place: slice, like: Tensor) -> Float[Tensor, "some 1"]:
        """Half the target of each positive at a place."""
        return 0.5 / self._divisor[place].to(like.dtype)[:, None]

    def _shared(self, place: slice) -> tuple[slice, slice]:
        """Which of the images have their own texts in a block, and which of the block these are."""
        start = max(place.start, self._own.start)
        stop = max(start, min(place.stop, self._own.stop))
        return slice(start - self._own.start, stop - self._own.start), slice(start - place.start, stop - place.start)


class _Groups:
    """Pairs of equal identity, of which only those groups count that this process has images of.

    Args:
        identity: Of the whole batch.
        own: Place of this process's images in it.
    """

    def __init__(self, identity: Int[Tensor, "global_batch"], own: slice) -> None:
        in_order = identity[own].sort().values
        # Of equal identities the first place stands for all; texts that none of the images has come last.
        self._images = torch.searchsorted(in_order, identity[own])
        found = torch.searchsorted(in_order, identity).clamp_(max=len(in_order) - 1)
        self._texts = torch.where(in_order[found] == identity, found, len(in_order))

    def of_images(self, texts: Tensor, place: slice) -> Tensor:
        """For each image, the sum of the texts of its group at a place."""
        sums = texts.new_zeros((len(self._images) + 1, texts.shape[1]))
        return sums.index_add_(0, self._texts[place], texts)[self._images]

    def of_texts(self, images: Tensor, place: slice) -> Tensor:
        """For each text at a place, the sum of the images of its group."""
        sums = images.new_zeros((len(images) + 1, images.shape[1]))
        return sums.index_add_(0, self._images, images)[self._texts[place]]


def _ranks(identity: Int[Tensor, "global_batch"]) -> Int[Tensor, "global_batch"]:
    """Numbers below the size of the batch that are equal where the identities are."""
    return torch.searchsorted(identity.sort().values, identity)


def _sizes(rank: Int[Tensor, "global_batch"]) -> Int[Tensor, "global_batch"]:
    """How many have the same rank as each."""
    return torch.zeros_like(rank).index_add_(0, rank, torch.ones_like(rank))[rank]
