"""Tokenisers of transformers, against transformers; they are made here, since nothing is downloaded."""

import pickle

import pytest
import tokenizers
import torch
from tokenizers import models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from clip_lightning.data.collate import cut
from clip_lightning.spec import build, spec_of
from clip_lightning.text import HFTokenizer

WORDS = ["a photo of a cat", "a dog on the grass", "two red birds and a cat on a roof by the sea", ""]


def learned(kind):
    special = {"bert": ["[PAD]", "[CLS]", "[SEP]", "[UNK]"], "gpt2": ["<|endoftext|>"]}[kind]
    bpe = tokenizers.Tokenizer(models.BPE(unk_token="[UNK]" if kind == "bert" else None))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(WORDS, trainer)
    if kind == "gpt2":
        return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|endoftext|>")
    bpe.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    return PreTrainedTokenizerFast(tokenizer_object=bpe, **names)


@pytest.fixture(params=["bert", "gpt2"])
def folder(request, tmp_path):
    learned(request.param).save_pretrained(tmp_path)
    return tmp_path


def test_ids_are_transformers(folder):
    tokenizer = HFTokenizer(16, name=str(folder))
    own = AutoTokenizer.from_pretrained(folder)
    for text, row in zip(WORDS, tokenizer(WORDS), strict=True):
        expected = own(text, truncation=True, max_length=16 if own.sep_token else 15)["input_ids"]
        expected += [] if own.sep_token else [own.eos_token_id]
        assert row.tolist() == expected + [tokenizer.pad_id] * (16 - len(expected))
    assert tokenizer.vocab_size == len(own)


def test_a_long_text_is_cut_with_its_end_kept(folder):
    tokenizer = HFTokenizer(8, name=str(folder))
    rows = tokenizer([" ".join(WORDS), *WORDS])
    assert rows[0, -1] == tokenizer.eos_id
    text, length = cut(rows, tokenizer.eos_id)
    assert text.shape == (5, 8)
    assert length[0] == 8
    assert torch.equal(length[-1], torch.tensor(2 if tokenizer.pad_id != tokenizer.eos_id else 1))


def test_a_caption_cannot_end_itself(folder):
    tokenizer = HFTokenizer(40, name=str(folder))
    (row,) = tokenizer(["a [SEP] cat <|endoftext|> dog"])
    first = int((row == tokenizer.eos_id).int().argmax())
    assert "dog" in tokenizer.decode(row[:first].tolist())


def test_a_checkpoint_holds_the_whole_tokeniser(folder):
    tokenizer = HFTokenizer(12, name=str(folder))
    described = spec_of(tokenizer)
    assert str(folder) not in str(described)
    for again in (build(described), pickle.loads(pickle.dumps(tokenizer))):
        assert torch.equal(again(WORDS), tokenizer(WORDS))
        assert spec_of(again) == described
        for name in ("vocab_size", "eos_id", "pad_id"):
            assert getattr(again, name) == getattr(tokenizer, name), name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"context_length": 1, "definition": "{}"}, "context_length 1 has no room"),
        ({"context_length": 8}, "either name"),
        ({"context_length": 8, "definition": "{}"}, "no tokenizer.json"),
        ({"context_length": 8, "name": "/nowhere/at/all"}, "no tokeniser '/nowhere/at/all'"),
    ],
)
def test_what_is_no_tokeniser_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        HFTokenizer(**arguments)


def test_a_text_that_is_cut_is_known(folder):
    own = AutoTokenizer.from_pretrained(folder)
    for context_length in (4, 6, 8, 16):
        tokenizer = HFTokenizer(context_length, name=str(folder))
        for text in [*WORDS, " ".join(WORDS)]:
            tokens = len(own(text)["input_ids"]) + (own.sep_token is None)
            assert tokenizer.cuts(text) == (tokens > context_length), (context_length, text)
