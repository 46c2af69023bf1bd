"""Captions that repeat in a batch: which further texts belong to which images, without a matrix of them."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Repeats:
    """The matrix R of further positives, as what it does to rows.

    Image i and text j of the whole batch are positives of each other where their captions are equal, and R has the
    weight w_i there, less 1 for an image and its own text. Since equal captions fall into groups, R X is a sum of rows
    of X for each group that is handed to its members: as much work and memory as X itself.

    Args:
        own_id: Captions of this process's images.
        all_id: Captions of the whole batch.
        start: Place of this process's first image in it.
        uniform: Whether the weights of an image's positives sum to 1; each has weight 1 otherwise.
    """

    def __init__(
        self, own_id: Int[Tensor, "batch"], all_id: Int[Tensor, "global_batch"], start: int, *, uniform: bool
    ) -> None:
        in_order = own_id.sort().values
        # Of equal captions the first place stands for all; texts that none of the images has come last.
        self._images = torch.searchsorted(in_order, own_id)
        found = torch.searchsorted(in_order, all_id).clamp_(max=len(own_id) - 1)
        self._texts = torch.where(in_order[found] == all_id, found, len(own_id))
        self._start = start
        counts = torch.zeros(len(own_id) + 1, dtype=torch.int64, device=own_id.device)
        counts.index_add_(0, self._texts, torch.ones_like(self._texts))
        self._divisor = counts[self._images] if uniform else torch.ones_like(self._images)

    def of_images(self, texts: Float[Tensor, "block embed_dim"], place: slice) -> Float[Tensor, "batch embed_dim"]:
        """Rows of R times the texts of a block, which lies at a place of the whole batch."""
        count = len(self._images)
        sums = texts.new_zeros((count + 1, texts.shape[1])).index_add_(0, self._texts[place], texts)
        further = sums[self._images] * self._weights(texts)
        ours, theirs = self._shared(place)
        further[ours] -= texts[theirs]
        return further

    def of_texts(self, images: Float[Tensor, "batch embed_dim"], place: slice) -> Float[Tensor, "block embed_dim"]:
        """Columns of R, of the texts at a place, times this process's images."""
        weighted = images * self._weights(images)
        sums = images.new_zeros((len(images) + 1, images.shape[1])).index_add_(0, self._images, weighted)
        further = sums[self._texts[place]]
        ours, theirs = self._shared(place)
        further[theirs] -= images[ours]
        return further

    def counts(self, place: slice) -> Int[Tensor, "batch"]:
        """Number of further positives that each image has at a place, whatever their weights."""
        texts = self._texts[place]
        counts = texts.new_zeros(len(self._images) + 1).index_add_(0, texts, torch.ones_like(texts))[self._images]
        counts[self._shared(place)[0]] -= 1
        return counts

    def _weights(self, like: Tensor) -> Float[Tensor, "batch 1"]:
        return 1 / self._divisor.to(like.dtype)[:, None]

    def _shared(self, place: slice) -> tuple[slice, slice]:
        """Which of the images have their own texts in a block, and which of the block these are."""
        start = max(place.start, self._start)
        stop = max(start, min(place.stop, self._start + len(self._images)))
        return slice(start - self._start, stop - self._start), slice(start - place.start, stop - place.start)
