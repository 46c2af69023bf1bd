import collections
import json
import pickle
import random

import pytest
import torch

from clip_lightning.spec import build, spec_of
from clip_lightning.text import BPETokenizer, Captions


class Listed(Captions):
    def __init__(self, texts):
        self.texts = texts

    def captions(self):
        return iter(self.texts)


TEXTS = ["a red circle", "a blue circle", "the red square is left of the blue circle", "Café ☕️", "hug pug hugs"] * 3


def learned_by_hand(words, num_merges):
    """Sennrich et al.'s algorithm in its plainest form; ties go to the smaller pair of ids."""
    ids = {}
    splits = {word: tuple(word) for word in words}
    alphabet = BPETokenizer(258, 8, merges=[])._encode.bpe.get_vocab()
    ids.update(alphabet)
    merges = []
    while len(merges) < num_merges:
        pairs = collections.Counter()
        for word, count in words.items():
            for pair in zip(splits[word], splits[word][1:], strict=False):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], ids[pair[0]], ids[pair[1]]))
        merges.append(" ".join(best))
        ids.setdefault("".join(best), len(ids))
        for word, symbols in splits.items():
            merged, rest = [], list(symbols)
            while rest:
                take = 2 if tuple(rest[:2]) == best else 1
                merged.append("".join(rest[:take]))
                rest = rest[take:]
            splits[word] = tuple(merged)
    return merges


def test_merges_equal_the_plain_algorithm():
    words = collections.Counter(f"Ġ{word}" for text in TEXTS if text.isascii() for word in text.split())
    ascii_texts = [text for text in TEXTS if text.isascii()]
    merges = BPETokenizer(258 + 20, 16, corpus=Listed(ascii_texts))._init_args["merges"]
    assert merges == learned_by_hand(words, 20)


def test_order_of_captions_does_not_matter():
    shuffled = random.Random(1).sample(TEXTS, len(TEXTS))
    first, second = (BPETokenizer(300, 16, corpus=Listed(texts)) for texts in (TEXTS, shuffled))
    assert spec_of(first) == spec_of(second)


def test_checkpoint_needs_no_corpus():
    tokenizer = BPETokenizer(300, 16, corpus=Listed(TEXTS))
    spec = json.loads(json.dumps(spec_of(tokenizer)))
    assert spec["init_args"]["corpus"] is None
    unseen = ["a red pug", "漢字 unseen words", ""]
    for copy in (build(spec), pickle.loads(pickle.dumps(tokenizer))):
        assert torch.equal(copy(unseen), tokenizer(unseen))
        assert spec_of(copy) == spec


def test_end_is_the_largest_id_and_occurs_once():
    tokenizer = BPETokenizer(10_000, 8, corpus=Listed(TEXTS))
    assert (tokenizer.vocab_size, tokenizer.eos_id, tokenizer.sos_id) == (10_000, 9_999, 9_998)
    rows = tokenizer(["a red circle", "ein langer Satz, der nicht in acht Tokens passt", ""])
    assert (rows == tokenizer.eos_id).sum(dim=1).tolist() == [1, 1, 1]
    assert rows[0].tolist()[0] == tokenizer.sos_id
    assert rows[1, -1] == tokenizer.eos_id
    assert rows[2].tolist() == [9_998, 9_999, 0, 0, 0, 0, 0, 0]


def test_frequent_words_become_one_token():
    rows = BPETokenizer(400, 16, corpus=Listed(TEXTS))(["red circle"])
    assert (rows == 399).nonzero()[0, 1] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocab_size": 257, "context_length": 8, "merges": []}, "at least 258"),
        ({"vocab_size": 258, "context_length": 1, "merges": []}, "context_length 1"),
        ({"vocab_size": 258, "context_length": 8}, "either corpus"),
        ({"vocab_size": 258, "context_length": 8, "merges": ["a b"]}, "1 merges do not fit"),
        ({"vocab_size": 300, "context_length": 8, "corpus": Listed([])}, "no captions"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        BPETokenizer(**arguments)
