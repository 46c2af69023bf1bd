import pytest
import torch
from torch.nn import functional as F

from clip_lightning.inference import zero_shot_classifier
from clip_lightning.inference.zero_shot import fill_templates
from clip_lightning.models import CLIP, TextTransformer, VisionTransformer
from clip_lightning.text import CLIPTokenizer


def test_every_name_goes_into_every_template():
    assert fill_templates(["dog", ["cat", "{}"]], ["a {}", "{}s"]) == [
        ["a dog", "dogs"],
        ["a cat", "cats", "a {}", "{}s"],
    ]


@pytest.mark.parametrize("templates", [[], ["a photo"]])
def test_templates_without_a_place_for_the_name_are_refused(templates):
    with pytest.raises(ValueError, match=r"templates|template"):
        fill_templates(["dog"], templates)


@pytest.fixture(scope="module")
def tokenizer():
    return CLIPTokenizer(context_length=77)


@pytest.fixture
def model(tokenizer):
    torch.manual_seed(0)
    image = VisionTransformer(image_size=32, patch_size=16, width=32, depth=1, num_heads=2)
    text = TextTransformer(context_length=77, vocab_size=tokenizer.vocab_size, width=32, depth=2, num_heads=2)
    return CLIP(image, text, embed_dim=24)


NAMES = ["dog", ["cat", "house cat that is kept in a house"], "bird"]
TEMPLATES = ["a photo of a {}.", "{}", "a bad photo of the {}, taken in the rain."]


def test_the_classifier_of_a_real_model_is_the_papers(model, tokenizer):
    """Against full padded rows of one prompt at a time, as the notebook of the released models does it."""
    classes = zero_shot_classifier(model, tokenizer, NAMES, TEMPLATES)
    assert model.training
    model.eval()
    for row, names in zip(classes, fill_templates(NAMES, TEMPLATES), strict=True):
        text = tokenizer(names)
        with torch.no_grad():
            embeds = F.normalize(model.encode_text(text), dim=-1)
        torch.testing.assert_close(row, F.normalize(embeds.mean(dim=0), dim=0))


def test_the_order_of_the_templates_does_not_matter_nor_does_a_repeated_one(model, tokenizer):
    classes = zero_shot_classifier(model, tokenizer, NAMES, TEMPLATES)
    other = zero_shot_classifier(model, tokenizer, NAMES, [TEMPLATES[2], *TEMPLATES])
    torch.testing.assert_close(other, classes)
