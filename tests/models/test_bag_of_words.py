"""The bag of words: the mean of the words of a text, and of nothing else."""

import pytest
import torch

from clip_lightning.models import BagOfWords

START, END = 18, 19


@pytest.mark.parametrize("has_start", [True, False])
def test_it_is_the_mean_of_the_words(has_start):
    tower = BagOfWords(context_length=8, vocab_size=20, width=4, has_start=has_start)
    # 0 is padding here and a word there.
    text = torch.tensor([[START, 3, 0, 3, END, 0, 0, 0], [START, END, 0, 0, 0, 0, 0, 0]])
    weight = tower.token_embedding.weight
    words = [3, 0, 3] if has_start else [START, 3, 0, 3]
    pooled = tower(text, torch.tensor([5, 2]))
    torch.testing.assert_close(pooled[0], weight[words].mean(dim=0))
    torch.testing.assert_close(pooled[1], torch.zeros(4) if has_start else weight[START])


def test_order_padding_and_cut_do_not_matter():
    tower = BagOfWords(context_length=8, vocab_size=20, width=4)
    texts = torch.tensor([[START, 3, 5, 7, END, 0], [START, 7, 3, 5, END, 9]])
    one, other = tower(texts, torch.tensor([5, 5]))
    torch.testing.assert_close(one, other)
    torch.testing.assert_close(tower(texts[:1, :5], torch.tensor([5]))[0], one)


def test_a_size_of_nothing_is_refused():
    with pytest.raises(ValueError, match="width 0"):
        BagOfWords(context_length=8, vocab_size=20, width=0)
