"""Tokenisers as files that other libraries read."""

import json
import warnings
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import normalizers, processors

from clip_lightning.interchange.parts import NoTokenizer
from clip_lightning.text import BPETokenizer, CLIPTokenizer, HFTokenizer, Tokenizer

_START, _END = "<|startoftext|>", "<|endoftext|>"
"""OpenAI's names of the tokens that start and end a text."""

FILE = "tokenizer.json"


def write_tokenizer(tokenizer: Tokenizer, folder: Path) -> bool:
    """Writes ``tokenizer.json``, which the ``tokenizers`` library and its ports give the same ids from.

    What it cannot express is the repair of encoding accidents and HTML entities, so plain text gives the same ids.

    Args:
        tokenizer: Any tokeniser.
        folder: Where the file goes.

    Returns:
        Whether it could be written: a user's own tokeniser cannot, and that is said.
    """
    if isinstance(tokenizer, HFTokenizer):
        whole = tokenizers.Tokenizer.from_str(tokenizer._init_args["definition"])
        if whole.encode("").ids[-1:] != [tokenizer.eos_id]:
            warnings.warn(f"{FILE} is not written: it would not end a text as the model expects", stacklevel=2)
            return False
    elif isinstance(tokenizer, CLIPTokenizer | BPETokenizer):
        whole = _cleaning(tokenizer)
    else:
        if not isinstance(tokenizer, NoTokenizer):
            warnings.warn(f"{FILE} is not written: {type(tokenizer).__name__} is known to Python alone", stacklevel=2)
        return False
    whole.enable_truncation(tokenizer.context_length)
    whole.enable_padding(length=tokenizer.context_length, pad_id=tokenizer.pad_id, pad_token="")
    (folder / FILE).write_text(whole.to_str(), encoding="utf-8")
    return True


def _cleaning(tokenizer: CLIPTokenizer | BPETokenizer) -> tokenizers.Tokenizer:
    """The tokeniser with what it does before its BPE and behind it."""
    whole = tokenizers.Tokenizer.from_str(tokenizer.bpe.to_str())
    space = normalizers.Replace(tokenizers.Regex(r"\s+"), " ")
    whole.normalizer = normalizers.Sequence([space, normalizers.Strip(), normalizers.Lowercase()])
    tokens = [(_START, tokenizer.sos_id), (_END, tokenizer.eos_id)]
    # The names are not in the vocabulary, so that a caption cannot contain them.
    whole.post_processor = processors.TemplateProcessing(single=f"{_START} $A {_END}", special_tokens=tokens)
    return whole


def write_clip_tokenizer(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Writes CLIP's tokeniser as ``transformers.CLIPTokenizer`` reads it.

    Args:
        tokenizer: CLIP's.
        folder: Where the files go.
    """
    model = json.loads(tokenizer.bpe.to_str())["model"]
    ids = {**model["vocab"], _START: tokenizer.sos_id, _END: tokenizer.eos_id}
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    names = {"bos_token": _START, "eos_token": _END, "unk_token": _END, "pad_token": _END}
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": tokenizer.context_length, **names}
    _write_json(folder / "vocab.json", ids)
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    _write_json(folder / "tokenizer_config.json", config)
    _write_json(folder / "special_tokens_map.json", names)


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
