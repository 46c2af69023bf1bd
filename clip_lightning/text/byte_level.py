"""What byte-level BPE tokenisers share: the alphabet, the memory of words, and rows of token ids."""

from collections.abc import Sequence

import numpy as np
import tokenizers
import torch
from jaxtyping import Int
from torch import Tensor

END_OF_WORD = "</w>"
_MAX_WORDS = 2**16


def byte_symbols() -> list[str]:
    """One visible character for each of the 256 bytes, in the order of their ids: visible bytes stand for themselves.

    Source: the byte alphabet of GPT-2, which CLIP's vocabulary and the ``tokenizers`` library use.
    """
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = 256 - len(visible)
    return [chr(byte) for byte in visible] + [chr(256 + number) for number in range(hidden)]


def vocabulary(alphabet: Sequence[str], merges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Ids of all tokens: the alphabet, then what each merge makes; a token that two merges make keeps its first id."""
    ids = {symbol: number for number, symbol in enumerate(alphabet)}
    for left, right in merges:
        ids.setdefault(left + right, len(ids))
    return ids


def _bytes_of_symbols() -> dict[str, int]:
    """The byte that each character of ``byte_symbols`` stands for."""
    visible = [ord(symbol) for symbol in byte_symbols() if ord(symbol) < 256]
    hidden = [byte for byte in range(256) if byte not in visible]
    return dict(zip(byte_symbols(), visible + hidden, strict=True))


_BYTE_OF = _bytes_of_symbols()
_SPACE = next(symbol for symbol, byte in _BYTE_OF.items() if byte == ord(" "))


class WordEncoder:
    """Token ids of cleaned text, word by word; words come back, so most cost a look-up.

    Args:
        bpe: Encodes a text as it encodes the words between its spaces one after another.
    """

    def __init__(self, bpe: tokenizers.Tokenizer) -> None:
        self.bpe = bpe
        self._known: dict[str, list[int]] = {}

    def __call__(self, text: str) -> list[int]:
        """Ids without start and end."""
        ids: list[int] = []
        for word in text.split(" "):
            known = self._known.get(word)
            if known is None:
                if len(self._known) >= _MAX_WORDS:
                    self._known.clear()
                known = self._known[word] = self.bpe.encode(word).ids
            ids += known
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; half a character at the end becomes U+FFFD."""
        tokens = "".join(self.bpe.id_to_token(number) or "" for number in ids).replace(END_OF_WORD, _SPACE)
        return bytes(_BYTE_OF[symbol] for symbol in tokens).decode("utf-8", errors="replace").strip()


def check_is_list(texts: Sequence[str]) -> None:
    """Refuses a single text, whose letters would otherwise count as texts.

    Raises:
        ValueError: If it is one text and no list.
    """
    if isinstance(texts, str):
        raise ValueError(f"{texts!r} is one text; give a list of texts, [{texts!r}]")


def token_rows(
    texts: Sequence[Sequence[int]], context_length: int, sos_id: int, eos_id: int
) -> Int[Tensor, "batch context_length"]:
    """Rows of start, text, end and zeros.

    Args:
        texts: Token ids of each text, without start and end.
        context_length: Tokens in a row; a longer text is cut and keeps its end.
        sos_id: Id that starts a row.
        eos_id: Id that ends a text.
    """
    rows = np.zeros((len(texts), context_length), dtype=np.int64)
    rows[:, 0] = sos_id
    for row, ids in zip(rows, texts, strict=True):
        length = min(len(ids), context_length - 2)
        row[1 : length + 1] = ids[:length]
        row[length + 1] = eos_id
    return torch.from_numpy(rows)
