"""Tokenisers and prompt templates."""

from clip_lightning.text.base import Captions, Tokenizer, text_lengths
from clip_lightning.text.bpe_tokenizer import BPETokenizer
from clip_lightning.text.clip_tokenizer import CLIPTokenizer
from clip_lightning.text.hf_tokenizer import HFTokenizer
from clip_lightning.text.templates import fill, fill_templates, numbered_lines, read_lines, read_templates

__all__ = [
    "BPETokenizer",
    "CLIPTokenizer",
    "Captions",
    "HFTokenizer",
    "Tokenizer",
    "fill",
    "fill_templates",
    "numbered_lines",
    "read_lines",
    "read_templates",
    "text_lengths",
]
