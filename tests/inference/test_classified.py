"""Zero-shot classification of images that nothing is known of."""

import numpy as np
import pytest
import torch
from trained_model import write_images, write_model

from clip_lightning.data import CenterCrop
from clip_lightning.inference import ImagePass, zero_shot_classifier
from clip_lightning.inference.classify import Classified, classify
from clip_lightning.inference.images import find_images
from clip_lightning.interchange import load
from clip_lightning.text import fill_templates

NAMES, TEMPLATES = [["red circle"], ["star", "blue star"], ["ring"]], ["a {}", "the {}."]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    return load(write_model(tmp_path_factory.mktemp("model") / "model.ckpt"))


def run(pretrained, source, batch_size=4):
    how = ImagePass(pretrained.model, CenterCrop.of(pretrained.model.pixels), batch_size)
    return classify(pretrained.scorer, how, source, fill_templates(NAMES, TEMPLATES))


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_probabilities_are_the_softmax_over_the_classes(batch_size, pretrained, tmp_path):
    keys = write_images(tmp_path)
    source = find_images([str(tmp_path)])
    found = run(pretrained, source, batch_size)
    assert [source.key(index) for index in found.index] == keys
    assert {source.key(index): reason for index, reason in found.missing.items()} == {
        "05-torn.jpg": "image data cannot be decoded",
        "sub/empty.png": "empty file",
    }
    model, tokenizer, transform, *_ = pretrained
    with torch.no_grad():
        rows = torch.stack([transform(tmp_path / key) for key in keys])
        embeds = torch.nn.functional.normalize(model.encode_image(model.normalize(rows)), dim=1)
        classes = zero_shot_classifier(model, tokenizer, NAMES, TEMPLATES)
        expected = (model.logit_scale.exp() * embeds @ classes.T).softmax(dim=1)
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-12)


def test_classes_are_ranked_and_equal_ones_stay_in_their_order():
    found = Classified(np.array([0, 1]), np.array([[0.2, 0.5, 0.3], [0.25, 0.5, 0.25]]), {})
    assert found.ranked().tolist() == [[1, 2, 0], [1, 0, 2]]


def test_images_of_which_none_can_be_read_are_refused(pretrained, tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(ValueError, match="can be read: not an image"):
        run(pretrained, find_images([str(tmp_path)]))
