"""Token ids become text again, for people to look at."""

import pytest

from clip_lightning.text import BPETokenizer, CLIPTokenizer
from clip_lightning.text.cleaning import clean

TEXTS = ["a red circle", "It's 5 €, naïve 写真 🙂!", "", "  two   spaces &amp; more  ", "a" * 30]


class Corpus:
    def captions(self):
        return iter(["a red circle", "a red square", "a red circle and it's a photo"] * 3)


def ids_of(tokenizer, text):
    row = tokenizer([text])[0].tolist()
    return row[1 : row.index(tokenizer.eos_id)]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("tokenizer", [BPETokenizer(300, 77, corpus=Corpus()), CLIPTokenizer()], ids=["bpe", "clip"])
def test_nothing_but_spaces_differs_from_the_cleaned_caption(tokenizer, text):
    found = tokenizer.decode(ids_of(tokenizer, text))
    assert found.replace(" ", "") == clean(text).replace(" ", "")
    if isinstance(tokenizer, BPETokenizer):
        assert found == clean(text)


def test_a_cut_text_is_its_beginning():
    assert BPETokenizer(258, 8, merges=[]).decode(ids_of(BPETokenizer(258, 8, merges=[]), "circles")) == "circl"
    assert CLIPTokenizer(5).decode(ids_of(CLIPTokenizer(5), "a red circle and more")) == "a red circle"


def test_clips_words_are_as_open_clip_decodes_them():
    from open_clip.tokenizer import SimpleTokenizer

    ids = ids_of(CLIPTokenizer(), "a photo, of the 23rd dog's café")
    assert CLIPTokenizer().decode(ids) == SimpleTokenizer().decode(ids).strip()
