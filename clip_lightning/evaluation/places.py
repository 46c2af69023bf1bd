"""Where the best right item of a query stands among all items, with equal scores and NaN treated fairly."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray as NDArray
from scipy.sparse import csr_array

# A block of scores that is whole in memory: large enough for the matrix product, small beside 500,000 embeds.
_BLOCK_BYTES = 2**27


class Places(NamedTuple):
    """Where the best right item of each query stands.

    Args:
        above: Number of items that score higher.
        equal: Number of items with its score, itself among them; 0 where no right item has a score.
        right: How many of those are right.
    """

    above: Int[NDArray, "queries"]
    equal: Int[NDArray, "queries"]
    right: Int[NDArray, "queries"]

    def credit(self, k: int) -> Float[NDArray, "queries"]:
        """Probability that a right item is among the k best when equal scores are ordered at random.

        Without ties that is 1 or 0; where all scores are equal it is chance, k / items for one right item.
        """
        guesses = np.clip(k - self.above, 0, self.equal)
        # Guesses among equals are drawn without putting back; all of them miss if each misses in turn.
        wrong = np.ones(len(self.above))
        for guess in range(guesses.max(initial=0)):
            missed = np.clip(self.equal - self.right - guess, 0, None) / np.maximum(self.equal - guess, 1)
            wrong *= np.where(guess < guesses, missed, 1.0)
        return 1.0 - wrong

    def ranks(self) -> Float[NDArray, "queries"]:
        """Mean rank of the first right item, from 1, over the random orders of equal scores."""
        ranks: NDArray = self.above + (self.equal + 1) / (self.right + 1)
        return ranks


def places(
    queries: Float[NDArray, "queries embed_dim"],
    items: Float[NDArray, "items embed_dim"],
    labels: csr_array,
    item_label: Int[NDArray, "items"],
) -> Places:
    """Ranks the items by their inner product with each query, a block of queries at a time.

    Args:
        queries: Embeds.
        items: Embeds. One with a NaN is never right and always in the way: it counts as above all others.
        labels: Whether each label is right for each query, [queries, labels]; one at least, of some item.
        item_label: Label of each item.

    Returns:
        The places; no more than a block of scores is ever in memory.
    """
    of_items = (np.ones(len(items), dtype=bool), (item_label, np.arange(len(items))))
    members = csr_array(of_items, shape=(labels.shape[1], len(items)))
    rows = max(_BLOCK_BYTES // items[:, 0].nbytes, 1)
    parts = [slice(start, start + rows) for start in range(0, len(queries), rows)]
    blocks = [_places_in_block(queries[part] @ items.T, labels[part] @ members) for part in parts]
    return Places(*np.concatenate(blocks, axis=1))


def _places_in_block(scores: Float[NDArray, "block items"], right: csr_array) -> Int[NDArray, "3 block"]:
    """The three numbers of ``Places`` for some queries."""
    found = np.empty((3, len(scores)), dtype=np.int64)
    for row, own in enumerate(np.split(right.indices, right.indptr[1:-1])):
        # A right item's score is taken from the same product, since another one would be rounded otherwise.
        best = np.fmax.reduce(scores[row, own], initial=np.nan)
        below, up_to = np.count_nonzero(scores[row] < best), np.count_nonzero(scores[row] <= best)
        found[:, row] = scores.shape[1] - up_to, up_to - below, np.count_nonzero(scores[row, own] == best)
    return found
