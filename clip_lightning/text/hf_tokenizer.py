"""Tokenisers of the Hugging Face hub's text models."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tokenizers
import torch
from jaxtyping import Int
from torch import Tensor

from clip_lightning.offline import offline_if_unreachable
from clip_lightning.refusal import first_line
from clip_lightning.text.base import Tokenizer
from clip_lightning.text.byte_level import check_is_list


class HFTokenizer(Tokenizer):
    """The tokeniser that belongs to a text model of transformers; a checkpoint holds all of it.

    Each text ends with the token that the model was trained to see there, however it was cut; where the tokeniser sets
    none by itself, as GPT-2's, it is appended. What looks like a special token inside a caption stays text. Unlike
    CLIP's, the id that ends a text need not be the largest.

    Args:
        context_length: Tokens in a row, start and end included; at least 2.
        name: Folder of a tokeniser, or its name on the Hugging Face hub; not together with ``definition``.
        definition: Content of its ``tokenizer.json``.
        pad_id: Id that fills a row behind its end; the tokeniser's own by default.
        eos_id: Id that ends a text; the tokeniser's own by default.

    Raises:
        ValueError: If ``context_length`` is below 2, if not exactly one of ``name`` and ``definition`` is given, or the
            tokeniser is not to be had or names no token that ends a text.
    """

    def __init__(
        self,
        context_length: int,
        name: str | None = None,
        definition: str | None = None,
        pad_id: int | None = None,
        eos_id: int | None = None,
    ) -> None:
        if context_length < 2:
            raise ValueError(f"context_length {context_length} has no room for start and end; give at least 2")
        if (name is None) == (definition is None):
            raise ValueError("give either name (a folder or a tokeniser of the hub) or definition (its tokenizer.json)")
        if name is not None:
            own = _of_name(name)
            definition = own.backend_tokenizer.to_str()
            pad_id = own.pad_token_id if pad_id is None else pad_id
            eos_id = (own.eos_token_id if own.sep_token_id is None else own.sep_token_id) if eos_id is None else eos_id
        assert definition is not None
        self._bpe = _parsed(definition)
        if eos_id is None:
            raise ValueError(f"tokeniser {name or 'definition'!r} names no token that ends a text; give eos_id")
        self.context_length = context_length
        self.vocab_size = max(self._bpe.get_vocab(with_added_tokens=True).values()) + 1
        self.eos_id = eos_id
        self.pad_id = eos_id if pad_id is None else pad_id
        self._appends_end = self._bpe.encode("").ids[-1:] != [eos_id]
        self._bpe.enable_truncation(context_length - self._appends_end)
        # A checkpoint describes the tokeniser by what it is, not by where it was.
        self._init_args |= {"name": None, "definition": definition, "pad_id": self.pad_id, "eos_id": eos_id}

    def __call__(self, texts: list[str]) -> Int[Tensor, "batch context_length"]:
        """Token ids as int64, cut to the context with the end kept, padded with ``pad_id``."""
        check_is_list(texts)
        rows = np.full((len(texts), self.context_length), self.pad_id, dtype=np.int64)
        for row, text in zip(rows, texts, strict=True):
            # One by one: the library's threads do not survive the fork of a loader's workers.
            ids = self._bpe.encode(text).ids + [self.eos_id] * self._appends_end
            row[: len(ids)] = ids
        return torch.from_numpy(rows)

    def cuts(self, text: str) -> bool:
        """Whether a text is longer than the context, so that its end is lost."""
        return bool(self._bpe.encode(text).overflowing)

    def decode(self, ids: Sequence[int]) -> str:
        """The text that token ids stand for."""
        decoded: str = self._bpe.decode(list(ids))
        return decoded

    def __getstate__(self) -> dict[str, Any]:
        """For a loader's workers: the library loses its settings on the way, so they get the arguments."""
        return {"init_args": self._init_args}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._init_args = dict(state["init_args"])
        self.__init__(**state["init_args"])


def _parsed(definition: str) -> tokenizers.Tokenizer:
    """A tokeniser that neither cuts nor pads by itself.

    Raises:
        ValueError: If it is none.
    """
    try:
        parsed = tokenizers.Tokenizer.from_str(definition)
    except Exception as error:  # The library raises nothing more exact.
        raise ValueError(f"definition is no tokenizer.json: {error}") from None
    parsed.no_truncation()
    parsed.no_padding()
    parsed.encode_special_tokens = True
    return parsed


def _of_name(name: str) -> Any:
    """The tokeniser in a folder or on the hub.

    Raises:
        ValueError: If it is not to be had.
    """
    try:
        from transformers import AutoTokenizer
    except ModuleNotFoundError:
        raise ValueError("HFTokenizer needs transformers: pip install 'clip-lightning[hf]'") from None
    try:
        with offline_if_unreachable(name) as reason:
            own = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"transformers has no tokeniser {name!r}: {reason or first_line(error)}") from None
    if not own.is_fast:
        raise ValueError(
            f"tokeniser {name!r} has no tokenizer.json, which a checkpoint needs; convert it to a fast one"
        )
    return own
