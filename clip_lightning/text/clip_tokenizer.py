"""CLIP's own tokeniser."""

import functools
import gzip
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import tokenizers
from jaxtyping import Int
from tokenizers import models, pre_tokenizers
from torch import Tensor

from clip_lightning.text.base import Tokenizer
from clip_lightning.text.byte_level import END_OF_WORD, WordEncoder, byte_symbols, check_is_list, token_rows, vocabulary
from clip_lightning.text.cleaning import clean

VOCAB_SIZE = 49408  # Source: OpenAI's CLIP: 2 x 256 bytes, 48,894 merges, start and end
_NUM_MERGES = VOCAB_SIZE - 2 * 256 - 2
# Source: OpenAI's CLIP tokeniser; its alternatives for the literals of the special tokens are left out on purpose, so
# that a caption cannot end itself.
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"


def _merges_path() -> Path:
    """CLIP's merges as the open_clip_torch package ships them; importing that package would take seconds."""
    spec = importlib.util.find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("CLIP's vocabulary comes with open_clip: pip install open_clip_torch")
    return Path(spec.origin).with_name("bpe_simple_vocab_16e6.txt.gz")


@functools.cache
def _clip_bpe() -> WordEncoder:
    """CLIP's BPE, once a process: building it takes a tenth of a second."""
    lines = gzip.decompress(_merges_path().read_bytes()).decode("utf-8").split("\n")
    merges = [(left, right) for left, right in (line.split() for line in lines[1 : _NUM_MERGES + 1])]
    symbols = byte_symbols()
    ids = vocabulary([*symbols, *(symbol + END_OF_WORD for symbol in symbols)], merges)
    assert len(ids) == VOCAB_SIZE - 2, len(ids)
    bpe = tokenizers.Tokenizer(models.BPE(vocab=ids, merges=merges, end_of_word_suffix=END_OF_WORD))
    words = pre_tokenizers.Split(tokenizers.Regex(_WORDS), behavior="removed", invert=True)
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    return WordEncoder(bpe)


class CLIPTokenizer(Tokenizer):
    """CLIP's lower-cased byte-level BPE of 49,408 ids.

    Unlike in OpenAI's, the literals ``<start_of_text>`` and ``<end_of_text>`` inside a caption stay text.

    Args:
        context_length: Tokens in a row, start and end included; at least 2.

    Raises:
        ValueError: If ``context_length`` is below 2.

    Source: Radford et al. 2021, section 2.4; ids as in OpenAI's release.
    """

    vocab_size = VOCAB_SIZE
    pad_id = 0
    sos_id = VOCAB_SIZE - 2
    eos_id = VOCAB_SIZE - 1

    def __init__(self, context_length: int = 77) -> None:
        if context_length < 2:
            raise ValueError(f"context_length {context_length} has no room for start and end; give at least 2")
        self.context_length = context_length

    def __call__(self, texts: list[str]) -> Int[Tensor, "batch context_length"]:
        """Token ids as int64, cut to the context with the end kept, padded with 0."""
        check_is_list(texts)
        encode = _clip_bpe()
        return token_rows([encode(clean(text)) for text in texts], self.context_length, self.sos_id, self.eos_id)

    def cuts(self, text: str) -> bool:
        """Whether a text is longer than the context, so that its end is lost."""
        return len(_clip_bpe()(clean(text))) > self.context_length - 2

    @property
    def bpe(self) -> tokenizers.Tokenizer:
        """Encodes cleaned text, without start, end and padding: what other libraries can be told of it."""
        return _clip_bpe().bpe

    def decode(self, ids: Sequence[int]) -> str:
        """The text that token ids stand for: cleaned, its words apart, and what of it fitted the context."""
        return _clip_bpe().decode(ids)
