"""Each process's images meet the texts of all processes: gathered at once, or passed round a ring.

The loss L of the whole batch is a sum over pairs of an image and a text. A process computes the terms of its own images
with all texts, so no image travels, and no term is computed twice.

Data-parallel training applies the mean of the processes' gradients. With P processes, each of which returns P times its
own terms' part of the gradient of L, that mean is the gradient of L: for a parameter that all share, such as the
temperature, each adds its terms' part. For an image the process has all terms; for a text they lie in all processes,
and what each finds is summed where the text came from.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Literal, Self

import torch
import torch.distributed as dist
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.distributed import ProcessGroup

ExchangeName = Literal["gather", "ring"]
"""How texts reach the images of other processes; the losses are the same."""

Part = Callable[[slice, Tensor], Tensor]
"""From a place in the whole batch and the texts that are there to what this process finds for them, row by row."""


class Exchange(ABC):
    """Brings the texts of all processes to this one's images.

    Args:
        counts: Rows of each process, in the order of their ranks. With gradients, all must be equal; without, as in
            validation, the last batch may be uneven.
        rank: Which of them this process is.
        group: The processes; all of them by default.

    Attributes:
        world: Number of processes that share the batch.
        own: Where this process's rows are in the whole batch.
        total: Rows of the whole batch.
    """

    def __init__(self, counts: list[int], rank: int = 0, group: ProcessGroup | None = None) -> None:
        self.rank = rank
        self.group = group
        self.world = len(counts)
        self.places = [slice(end - count, end) for count, end in zip(counts, accumulate(counts), strict=True)]
        self.own = self.places[rank]
        self.total = sum(counts)

    @classmethod
    def between(cls, rows: Tensor, group: ProcessGroup | None = None) -> Self:
        """The exchange between all processes of a group, each with rows like this one's; alone, if there is none."""
        world = dist.get_world_size(group) if dist.is_available() and dist.is_initialized() else 1
        counts = [len(rows)] * world
        if world > 1 and not torch.is_grad_enabled():
            counts = _stacked(torch.tensor([len(rows)], device=rows.device), world, group).flatten().tolist()
        return cls(counts, dist.get_rank(group) if world > 1 else 0, group)

    @abstractmethod
    def blocks(
        self, texts: Float[Tensor, "batch embed_dim"]
    ) -> Iterator[tuple[slice, Float[Tensor, "block embed_dim"]]]:
        """The texts of the whole batch, block by block, each with its place."""

    @abstractmethod
    def gradients(self, texts: Float[Tensor, "batch embed_dim"], part: Part) -> Float[Tensor, "batch embed_dim"]:
        """Has every process find its part for the texts of all, and sums the parts where the texts came from."""

    def stacked(self, values: Shaped[Tensor, "..."]) -> Shaped[Tensor, "world ..."]:
        """Values of one shape from all processes."""
        return _stacked(values, self.world, self.group)

    def summed(self, value: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The sum of what all processes have, which is added in the same order in each."""
        return self.stacked(value[None]).sum(dim=0)[0]

    def joined(self, rows: Shaped[Tensor, "batch ..."]) -> Shaped[Tensor, "global_batch ..."]:
        """Rows of the whole batch, without gradient."""
        counts = [place.stop - place.start for place in self.places]
        if len(set(counts)) == 1:
            return self.stacked(rows).flatten(0, 1)
        padded = rows.new_zeros((max(counts), *rows.shape[1:]))
        padded[: len(rows)] = rows
        return torch.cat([part[:count] for part, count in zip(self.stacked(padded), counts, strict=True)])


def _stacked(values: Tensor, world: int, group: ProcessGroup | None) -> Tensor:
    if world == 1:
        return values[None]
    stacked = values.new_empty((world * values.shape[0], *values.shape[1:]))
    dist.all_gather_into_tensor(stacked, values.contiguous(), group=group)
    return stacked.view(world, *values.shape)


class GatherExchange(Exchange):
    """Every process holds the texts of all: least communication, and memory in proportion to the whole batch."""

    _gathered: Tensor | None = None

    def blocks(
        self, texts: Float[Tensor, "batch embed_dim"]
    ) -> Iterator[tuple[slice, Float[Tensor, "block embed_dim"]]]:
        """All texts in one block."""
        yield slice(0, self.total), self._all(texts)

    def gradients(self, texts: Float[Tensor, "batch embed_dim"], part: Part) -> Float[Tensor, "batch embed_dim"]:
        """The parts are summed by a reduce-scatter."""
        parts = part(slice(0, self.total), self._all(texts))
        self._gathered = None
        if self.world == 1:
            return parts
        own = parts.new_empty((len(texts), *parts.shape[1:]))
        dist.reduce_scatter_tensor(own, parts, group=self.group)
        return own

    def _all(self, texts: Tensor) -> Tensor:
        """Kept from the forward pass to the backward pass where it is a copy."""
        if self.world == 1:
            return texts
        if self._gathered is None:
            self._gathered = self.joined(texts)
        return self._gathered


class RingExchange(Exchange):
    """Blocks of texts go from process to process while each computes with the one it has.

    Memory is in proportion to a process's own rows. In the backward pass what was found for a block follows it, one
    process behind, and each adds its part.

    Source: Zhai et al. 2023 (arXiv 2303.15343), section 3.3, whose blocks go round likewise.
    """

    def blocks(
        self, texts: Float[Tensor, "batch embed_dim"]
    ) -> Iterator[tuple[slice, Float[Tensor, "block embed_dim"]]]:
        """The block of this process, then those of the processes before it."""
        block = texts
        for step in range(self.world):
            coming = self._pass_on(block, step) if step + 1 < self.world else None
            yield self._place(step), block
            if coming is not None:
                block = coming()

    def gradients(self, texts: Float[Tensor, "batch embed_dim"], part: Part) -> Float[Tensor, "batch embed_dim"]:
        """The sums end where their texts came from."""
        if self.world == 1:
            return part(self.own, texts)
        found: Callable[[], Tensor] | None = None
        for step, (place, block) in enumerate(self.blocks(texts)):
            sums = part(place, block)
            if found is not None:
                sums += found()
            found = self._pass_on(sums, step)
        assert found is not None
        return found()

    def _place(self, step: int) -> slice:
        return self.places[(self.rank - step) % self.world]

    def _pass_on(self, rows: Tensor, step: int) -> Callable[[], Tensor]:
        """Begins to send the rows of a step to the next process, and to take those of the following step.

        Returns:
            A function that waits for both and returns the rows taken.
        """
        place, rows = self._place(step + 1), rows.contiguous()
        taken = rows.new_empty((place.stop - place.start, *rows.shape[1:]))
        after, before = (self._global_rank(self.rank + way) for way in (1, -1))
        pending = dist.batch_isend_irecv(
            [
                dist.P2POp(dist.isend, rows, after, self.group),
                dist.P2POp(dist.irecv, taken, before, self.group),
            ]
        )

        def wait() -> Tensor:
            for work in pending:
                work.wait()
            return taken

        return wait

    def _global_rank(self, rank: int) -> int:
        rank %= self.world
        return rank if self.group is None else dist.get_global_rank(self.group, rank)


EXCHANGES: dict[str, type[Exchange]] = {"gather": GatherExchange, "ring": RingExchange}
"""By the value of a configuration."""
