import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clip_lightning.objectives.scoring import ContrastiveScorer, class_embeds, evaluating
from clip_lightning.text import text_lengths


class Letters:
    """One token a letter, between a start and an end; pads with 0, which is also the space."""

    context_length, vocab_size, pad_id, eos_id = 40, 64, 0, 63

    def __init__(self):
        self.seen = []

    def __call__(self, texts):
        self.seen += texts
        rows = torch.zeros(len(texts), self.context_length, dtype=torch.int64)
        for row, text in zip(rows, texts, strict=True):
            ids = [62, *((ord(letter) - 32) % 60 for letter in text), self.eos_id]
            row[: len(ids)] = torch.tensor(ids)
        return rows


class Bags(nn.Module):
    """A model that means its tokens and its pixels; with dropout, so that its mode shows."""

    def __init__(self):
        super().__init__()
        self.logit_scale = nn.Parameter(torch.tensor(math.log(20.0)))
        self.tokens, self.pixels = nn.Embedding(64, 16), nn.Linear(3, 16)
        self.dropout, self.frozen = nn.Dropout(0.5), nn.Dropout(0.5).eval()
        self.widths = []

    def normalize(self, image):
        return image.float() / 255

    def encode_image(self, image):
        return self.dropout(self.pixels(image.mean(dim=(2, 3))))

    def encode_text(self, text, length):
        assert text.shape[1] == length.max(), "padding is computed"
        self.widths.append(tuple(text.shape))
        used = torch.arange(text.shape[1]) < length[:, None]
        return self.dropout((self.tokens(text) * used[..., None]).sum(dim=1) * length[:, None])


@pytest.fixture
def model():
    return Bags()


def reference(model, prompts):
    """The paper's recipe, one prompt at a time."""
    model.eval()
    rows = []
    for own in prompts:
        embeds = []
        for prompt in own:
            text = Letters()([prompt])[:, : len(prompt) + 2]
            embeds.append(F.normalize(model.encode_text(text, torch.tensor([len(prompt) + 2])), dim=1)[0])
        mean = sum(embeds) / len(embeds)
        rows.append(mean / mean.norm())
    model.train()
    return torch.stack(rows)


PROMPTS = [["a cat", "a photo of a cat."], ["dog"], ["a bird", "a very long sentence on a bird", "bird"], ["a cat"]]


@pytest.mark.parametrize("batch_size", [1, 2, 256])
def test_classes_are_embedded_as_in_the_paper(model, batch_size):
    torch.testing.assert_close(class_embeds(model, Letters(), PROMPTS, batch_size), reference(model, PROMPTS))


def test_rows_have_unit_length_and_no_gradient(model):
    embeds = class_embeds(model, Letters(), PROMPTS)
    assert not embeds.requires_grad
    torch.testing.assert_close(embeds.norm(dim=1), torch.ones(4))


def test_permuting_classes_permutes_the_rows(model):
    order = [2, 0, 3, 1]
    permuted = class_embeds(model, Letters(), [PROMPTS[label] for label in order])
    torch.testing.assert_close(permuted, class_embeds(model, Letters(), PROMPTS)[order])


def test_a_repeated_prompt_changes_nothing_and_is_encoded_once(model):
    tokenizer = Letters()
    repeated = [[*own, own[0], own[0]] for own in PROMPTS]
    torch.testing.assert_close(class_embeds(model, tokenizer, repeated), class_embeds(model, Letters(), PROMPTS))
    assert len(tokenizer.seen) == len(set(tokenizer.seen)) == 6


def test_texts_of_like_length_share_a_batch(model):
    class_embeds(model, Letters(), [["aaaaaaaaaa"], ["b"], ["cccccccccc"], ["d"]], batch_size=2)
    assert model.widths == [(2, 3), (2, 12)]


@pytest.mark.parametrize("prompts", [[], [["a cat"], []]])
def test_a_class_without_a_prompt_is_refused(model, prompts):
    with pytest.raises(ValueError, match="classes without a prompt"):
        class_embeds(model, Letters(), prompts)


def test_each_module_gets_its_mode_back(model):
    def fail():
        with evaluating(model):
            assert not model.dropout.training
            assert not torch.is_grad_enabled()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert model.training
    assert model.dropout.training
    assert not model.frozen.training
    assert torch.is_grad_enabled()


def test_lengths_count_up_to_the_first_end():
    text = torch.tensor([[62, 5, 63, 0, 0], [62, 63, 0, 0, 0], [62, 0, 0, 0, 63], [62, 63, 63, 63, 63]])
    assert text_lengths(text, 63).tolist() == [3, 2, 5, 2]


def test_scores_are_scaled_cosines(model):
    rows = torch.randn(5, 16)
    expected = F.cosine_similarity(rows[:, None], reference(model.eval(), PROMPTS)[None], dim=2)
    torch.testing.assert_close(ContrastiveScorer(model, Letters()).classes(PROMPTS)(rows), 20 * expected.detach())


def test_texts_are_embedded_each_in_its_place(model):
    texts = ["ab", "abcd", "ab", "c"]
    embeds = ContrastiveScorer(model, Letters()).text_embeds(texts)
    assert not embeds.requires_grad
    torch.testing.assert_close(embeds, reference(model.eval(), [[text] for text in texts]).detach())


def test_scores_stay_in_float32_under_autocast(model):
    scorer = ContrastiveScorer(model, Letters())
    rows = torch.randn(5, 16)
    exact = scorer.classes(PROMPTS)
    with torch.autocast("cpu", torch.bfloat16):
        scores = exact(rows)
    assert scores.dtype == torch.float32
    assert torch.equal(scores, exact(rows))
