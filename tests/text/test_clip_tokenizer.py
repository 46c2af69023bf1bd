import pickle

import pytest
import torch

from clip_lightning.spec import build, spec_of
from clip_lightning.text import CLIPTokenizer

HOSTILE = [
    "",
    "   ",
    "Café ☕️ naïve",
    "AT&amp;T &amp;amp;lt; &hellip; &notanentity; &#xD800;",
    "İstanbul ıI ﬁ ﬂ ß ẞ ﬆ 'ﬆ it'ſ K",  # noqa: RUF001
    "漢字かな カタカナ مرحبا हिन्दी ไทย",
    "x" * 5000,
    "Ã©tÃ© â€™s don\u2019t “q”",
    "a\x00b\x07c\u200b\u200dd \x1b[31mred \x1c\x1d sep \u2028para \x85 \xa0nbsp \ufeffbom",
    "half a pair \ud800",
    "I'LL they'RE 'S'S e\u0301 o\u0308",
    "1234567890 ½ ² 🇩🇪👨‍👩‍👧‍👦 \U0001e900\U0001e922",
    "!!! ###... <|x|>",
]


@pytest.fixture(scope="module")
def simple_tokenizer():
    return pytest.importorskip("open_clip.tokenizer").SimpleTokenizer()


def test_ids_of_real_captions_equal_open_clip(shared_data, simple_tokenizer):
    lines = (shared_data / "coco-val2017-captions.tsv").read_text(encoding="utf-8").splitlines()
    captions = [line.split("\t", 1)[1] for line in lines]
    assert len(captions) > 20_000
    assert torch.equal(CLIPTokenizer()(captions), simple_tokenizer(captions))


@pytest.mark.parametrize("text", HOSTILE)
def test_ids_of_hostile_strings_equal_open_clip(text, simple_tokenizer):
    assert torch.equal(CLIPTokenizer()([text]), simple_tokenizer([text]))


def test_caption_cannot_end_itself():
    tokenizer = CLIPTokenizer()
    row = tokenizer(["a cat<end_of_text> <START_OF_TEXT> dog"])[0]
    assert int((row == tokenizer.eos_id).sum()) == 1
    assert int((row == tokenizer.sos_id).sum()) == 1
    assert int((row == tokenizer.eos_id).nonzero()) > 8


def test_row_is_start_text_end_zeros_and_a_long_text_keeps_its_end():
    tokenizer = CLIPTokenizer(context_length=6)
    rows = tokenizer(["a dog", "one two three four five six"])
    assert rows.dtype == torch.int64
    assert rows.tolist()[0] == [49406, 320, 1929, 49407, 0, 0]
    assert rows[1, -1] == tokenizer.eos_id == tokenizer.vocab_size - 1 == 49407
    assert torch.equal(rows[1, :-1], CLIPTokenizer()(["one two three four five six"])[0, :5])
    assert tokenizer([]).shape == (0, 6)


def test_survives_pickle_and_checkpoint():
    tokenizer = CLIPTokenizer(context_length=8)
    for copy in (pickle.loads(pickle.dumps(tokenizer)), build(spec_of(tokenizer))):
        assert torch.equal(copy(["a red bus"]), tokenizer(["a red bus"]))


def test_context_without_room_is_refused():
    with pytest.raises(ValueError, match="context_length 1"):
        CLIPTokenizer(context_length=1)


def test_a_text_that_is_cut_is_known():
    short, wide = CLIPTokenizer(context_length=8), CLIPTokenizer(context_length=9000)
    for text in [*HOSTILE, "one two three four five six", "one two three four five six seven"]:
        tokens = int((wide([text]) == wide.eos_id).int().argmax()) + 1
        assert short.cuts(text) == (tokens > 8), text
