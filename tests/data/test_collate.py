import numpy as np
import pytest
import torch

from clip_lightning.data import content_id
from clip_lightning.data.collate import Pair, collate
from clip_lightning.text import BPETokenizer, CLIPTokenizer


def pair(caption, number=0):
    return Pair(torch.full((3, 4, 4), number, dtype=torch.uint8), caption, (1, 2, number), 10 + number)


@pytest.mark.parametrize("tokenizer", [CLIPTokenizer(context_length=20), BPETokenizer(300, 20, merges=[])])
@pytest.mark.parametrize("words", [0, 1, 5, 6, 7, 14, 40])
def test_text_is_cut_to_its_longest_and_nothing_is_lost(tokenizer, words):
    captions = ["", " ".join("a" * words), "!"]
    batch = collate([pair(caption) for caption in captions], tokenizer)
    full = tokenizer(captions)
    used = max(row.index(tokenizer.eos_id) + 1 for row in full.tolist())
    assert batch.text.shape[1] == min((used + 7) // 8 * 8, 20)
    assert torch.equal(batch.text, full[:, : batch.text.shape[1]])
    assert batch.length.tolist() == [row.index(tokenizer.eos_id) + 1 for row in full.tolist()]
    assert batch.text.is_contiguous()


def test_pairs_stay_in_their_order():
    batch = collate([pair("a", 3), pair("b", 1), pair("a", 2)], CLIPTokenizer())
    assert batch.image.float().mean(dim=(1, 2, 3)).tolist() == [3, 1, 2]
    assert batch.image.dtype == torch.uint8
    assert batch.key.tolist() == [[1, 2, 3], [1, 2, 1], [1, 2, 2]]
    assert batch.image_id.tolist() == [13, 11, 12]
    assert batch.text_id[0] == batch.text_id[2] != batch.text_id[1]
    assert len(batch) == 3


def test_content_ids_tell_contents_apart():
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    ids = [content_id(b"a"), content_id(b"b"), content_id(b""), content_id(pixels), content_id(pixels[::-1])]
    assert len(set(ids)) == 5
    assert all(0 <= value < 2**63 for value in ids)
    assert content_id(pixels.transpose(1, 0, 2).copy().transpose(1, 0, 2)) == content_id(pixels)
    # The same in every process and run, unlike hash().
    assert content_id(b"a") == 1702698405120146464
