"""From single pairs to a batch."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from clip_lightning.batch import Batch
from clip_lightning.text import Tokenizer, text_lengths

# Lengths of few kinds are kind to compiled models, and multiples of 8 to tensor cores.
_LENGTH_MULTIPLE = 8


class Pair(NamedTuple):
    """An image, decoded and cropped, with the caption that was chosen for it.

    Args:
        image: Pixels, of the same size in all pairs of a batch.
        caption: The text as it is stored.
        key: Source, block and index in the source.
        image_id: Hash of the stored image.
        views: Further versions of the image, each of the same size in all pairs of a batch.
    """

    image: UInt8[Tensor, "3 height width"]
    caption: str
    key: tuple[int, int, int]
    image_id: int
    views: Mapping[str, UInt8[Tensor, "3 height width"]] = {}


def collate(pairs: Sequence[Pair], tokenizer: Tokenizer, views: Mapping[str, Tokenizer] = {}) -> Batch:
    """Stacks pairs and tokenises their captions.

    Args:
        pairs: One at least.
        tokenizer: Rows of it are cut to the longest text of the batch.
        views: Tokeniser of each further version.
    """
    captions = [pair.caption for pair in pairs]
    identities = (
        torch.tensor([pair.key for pair in pairs]),
        torch.tensor([pair.image_id for pair in pairs]),
        torch.tensor([content_id(caption.encode("utf-8", "surrogatepass")) for caption in captions]),
    )

    def version(images: Sequence[Tensor], tokenizer: Tokenizer) -> Batch:
        text, length = cut(tokenizer(captions), tokenizer.eos_id)
        return Batch(torch.stack(list(images)), text, length, *identities)

    batch = version([pair.image for pair in pairs], tokenizer)
    batch.views = {name: version([pair.views[name] for pair in pairs], own) for name, own in views.items()}
    return batch


def cut(
    text: Int[Tensor, "batch context_length"], eos_id: int
) -> tuple[Int[Tensor, "batch tokens"], Int[Tensor, "batch"]]:
    """Cuts rows to the longest text, rounded up to 8 but never above the context length.

    Args:
        text: Token ids, each row with one ``eos_id``.
        eos_id: Id that ends a text.

    Returns:
        The rows, and the tokens in each up to and with its end.
    """
    length = text_lengths(text, eos_id)
    longest = int(length.max())
    tokens = min(-(-longest // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE, text.shape[1])
    return text[:, :tokens].contiguous(), length


def content_id(content: bytes | np.ndarray) -> int:
    """A 63-bit hash of bytes or pixels; equal contents have equal hashes in every run."""
    data = content if isinstance(content, bytes) else np.ascontiguousarray(content).data
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") >> 1
