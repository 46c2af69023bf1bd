"""A tokeniser learned from the user's own captions."""

import contextlib
import json
import os
from collections.abc import Iterator, Sequence

import tokenizers
from jaxtyping import Int
from tokenizers import models, pre_tokenizers, trainers
from torch import Tensor

from clip_lightning.text.base import Captions, Tokenizer
from clip_lightning.text.byte_level import WordEncoder, byte_symbols, check_is_list, token_rows, vocabulary
from clip_lightning.text.cleaning import clean

_SMALLEST = 256 + 2  # every byte, start and end


class BPETokenizer(Tokenizer):
    """Byte-level BPE whose merges are learned from captions; a checkpoint holds the merges and needs no captions.

    Args:
        vocab_size: Number of ids, at least 258; if the captions have fewer distinct tokens, the rest stay unused.
        context_length: Tokens in a row, start and end included; at least 2.
        corpus: Where to learn from; not together with ``merges``.
        merges: Learned merges, each two tokens with a space between, in the order of learning.

    Raises:
        ValueError: If a size is too small, or if not exactly one of ``corpus`` and ``merges`` is given, or the corpus
            is empty.

    Source: Sennrich et al. 2016, section 3.2, on the bytes of the text.
    """

    pad_id = 0

    def __init__(
        self,
        vocab_size: int,
        context_length: int,
        corpus: Captions | None = None,
        merges: list[str] | None = None,
    ) -> None:
        if vocab_size < _SMALLEST:
            raise ValueError(f"vocab_size {vocab_size} cannot hold all bytes, start and end; give at least {_SMALLEST}")
        if context_length < 2:
            raise ValueError(f"context_length {context_length} has no room for start and end; give at least 2")
        if (corpus is None) == (merges is None):
            raise ValueError("give either corpus (captions to learn merges from) or merges (learned before)")
        if corpus is not None:
            merges = learn_merges(corpus.captions(), vocab_size - 2)
        assert merges is not None
        # A checkpoint describes the tokeniser by what it learned, not by where it learned it.
        self._init_args = {**self._init_args, "corpus": None, "merges": merges}
        self.vocab_size = vocab_size
        self.context_length = context_length
        self.sos_id = vocab_size - 2
        self.eos_id = vocab_size - 1
        self._encode = WordEncoder(_bpe(merges))
        if self._encode.bpe.get_vocab_size() > self.sos_id:
            raise ValueError(f"{len(merges)} merges do not fit vocab_size {vocab_size}; raise it")

    def __call__(self, texts: list[str]) -> Int[Tensor, "batch context_length"]:
        """Token ids as int64, cut to the context with the end kept, padded with 0."""
        check_is_list(texts)
        ids = [self._encode(clean(text)) for text in texts]
        return token_rows(ids, self.context_length, self.sos_id, self.eos_id)

    def cuts(self, text: str) -> bool:
        """Whether a text is longer than the context, so that its end is lost."""
        return len(self._encode(clean(text))) > self.context_length - 2

    @property
    def bpe(self) -> tokenizers.Tokenizer:
        """Encodes cleaned text, without start, end and padding: what other libraries can be told of it."""
        return self._encode.bpe

    def decode(self, ids: Sequence[int]) -> str:
        """The text that token ids stand for: cleaned, and what of it fitted the context."""
        return self._encode.decode(ids)


def _bpe(merges: list[str]) -> tokenizers.Tokenizer:
    """The BPE of given merges; a token begins a word if it begins with a space."""
    pairs = [(left, right) for left, right in (merge.split(" ") for merge in merges)]
    bpe = tokenizers.Tokenizer(models.BPE(vocab=vocabulary(byte_symbols(), pairs), merges=pairs))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return bpe


def learn_merges(captions: Iterator[str], num_tokens: int) -> list[str]:
    """Learns byte-pair merges; the same captions in any order give the same merges.

    Args:
        captions: Texts as they are stored.
        num_tokens: Bytes and merged tokens to end up with, or fewer if the captions have no more pairs.

    Returns:
        Each merge as two tokens with a space between, the first learned first.

    Raises:
        ValueError: If there is no caption.
    """
    first = next(captions, None)
    if first is None:
        raise ValueError("the corpus has no captions to learn a vocabulary from")
    bpe = _bpe([])
    trainer = trainers.BpeTrainer(
        vocab_size=num_tokens, min_frequency=2, initial_alphabet=byte_symbols(), show_progress=False
    )
    with _one_thread():
        bpe.train_from_iterator((clean(text) for part in ((first,), captions) for text in part), trainer)
    return [" ".join(pair) for pair in json.loads(bpe.to_str())["model"]["merges"]]


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """The library's threads do not survive the fork of a loader's workers, so none are started."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before
