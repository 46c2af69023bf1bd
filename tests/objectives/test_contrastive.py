"""The contrastive objective against numpy, and its properties."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import log_softmax

from clip_lightning.batch import Batch
from clip_lightning.models import CLIP, TextTransformer, VisionTransformer
from clip_lightning.objectives import Contrastive, contrastive_loss


def embeds(n, d=8, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(n, d, generator=generator, dtype=dtype), dim=1)


def reference(image, text, scale, ids=None):
    """Figure 3 of the paper in numpy; rows with equal ids share the target evenly."""
    logits = scale * image @ text.T
    target = np.eye(len(image)) if ids is None else (ids[:, None] == ids[None, :]).astype(float)
    rows, columns = target / target.sum(1, keepdims=True), target / target.sum(0, keepdims=True)
    image_loss = -(rows * log_softmax(logits, axis=1)).sum(1).mean()
    text_loss = -(columns * log_softmax(logits, axis=0)).sum(0).mean()
    return (image_loss + text_loss) / 2


@pytest.mark.parametrize("ids", [None, [0, 1, 0, 2, 2, 2], [5, 5, 5, 5, 5, 5], [0, 1, 2, 3, 4, 5]])
def test_loss_equals_numpy(ids):
    image, text = embeds(6, seed=1), embeds(6, seed=2)
    text_id = None if ids is None else torch.tensor(ids)
    loss = contrastive_loss(image, text, torch.tensor(9.0, dtype=torch.float64), text_id)
    expected = reference(image.numpy(), text.numpy(), 9.0, None if ids is None else np.array(ids))
    assert loss.item() == pytest.approx(expected, abs=1e-12)


def test_distinct_captions_give_exactly_the_plain_loss():
    image, text, scale = embeds(7, seed=1), embeds(7, seed=2), torch.tensor(20.0, dtype=torch.float64)
    plain = contrastive_loss(image, text, scale)
    assert contrastive_loss(image, text, scale, torch.arange(7)).item() == pytest.approx(plain.item(), abs=1e-14)


def test_uniform_similarity_costs_the_log_of_the_batch():
    same = F.normalize(torch.ones(10, 4), dim=1)
    assert contrastive_loss(same, same, torch.tensor(100.0)).item() == pytest.approx(math.log(10), abs=1e-5)


def test_order_of_pairs_and_of_towers_does_not_matter():
    image, text, scale = embeds(9, seed=1), embeds(9, seed=2), torch.tensor(5.0)
    ids = torch.tensor([0, 1, 1, 2, 3, 4, 4, 4, 5])
    shuffle = torch.randperm(9)
    loss = contrastive_loss(image, text, scale, ids)
    torch.testing.assert_close(contrastive_loss(image[shuffle], text[shuffle], scale, ids[shuffle]), loss)
    torch.testing.assert_close(contrastive_loss(text, image, scale, ids), loss)


def test_repeated_captions_do_not_repel():
    """With one caption throughout, images that all equal it are at the minimum, and nothing pushes them apart."""
    same = F.normalize(torch.ones(4, 3, dtype=torch.float64), dim=1)
    image = same.clone().requires_grad_()
    contrastive_loss(image, same, torch.tensor(10.0, dtype=torch.float64), torch.zeros(4)).backward()
    assert image.grad.abs().max() < 1e-12
    distinct = embeds(4, 3).requires_grad_()
    contrastive_loss(distinct, same, torch.tensor(10.0, dtype=torch.float64)).backward()
    assert distinct.grad.abs().max() > 0.01


def test_unequal_batches_are_refused():
    with pytest.raises(ValueError, match="3 image and 4 text"):
        contrastive_loss(embeds(3), embeds(4), torch.tensor(1.0))


def tiny_model(dtype=torch.float64):
    torch.manual_seed(3)
    image = VisionTransformer(image_size=8, patch_size=4, width=16, depth=1, num_heads=2)
    text = TextTransformer(context_length=8, vocab_size=20, width=16, depth=1, num_heads=2)
    return CLIP(image, text, embed_dim=8).to(dtype)


def tiny_batch(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    text = torch.randint(1, 18, (n, 8), generator=generator)
    text[1] = text[0]
    text[:, -1] = 19
    return Batch(
        image=torch.randint(0, 256, (n, 3, 8, 8), dtype=torch.uint8, generator=generator),
        text=text,
        length=torch.full((n,), 8),
        key=torch.zeros(n, 3, dtype=torch.int64),
        image_id=torch.arange(n),
        text_id=torch.tensor([0, 0, *range(2, n)]),
    )


def test_reduce_is_the_loss_of_the_normalised_features():
    model, objective, batch = tiny_model(), Contrastive(), tiny_batch(6)
    objective.setup(model)
    encoded = objective.encode(model, batch)
    image, text = (F.normalize(encoded[f"{tower}_features"], dim=1) for tower in ("image", "text"))
    expected = contrastive_loss(image, text, model.logit_scale.exp(), batch.text_id)
    torch.testing.assert_close(objective.reduce(model, encoded)["loss"], expected)


def test_setup_starts_at_the_papers_temperature():
    model = tiny_model(torch.float32)
    with torch.no_grad():
        model.logit_scale.fill_(0)
    Contrastive().setup(model)
    assert model.logit_scale.exp().item() == pytest.approx(1 / 0.07)


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(ValueError, match=str(temperature)):
        Contrastive(temperature)


def test_logits_are_fp32_under_autocast():
    model, objective, batch = tiny_model(torch.float32), Contrastive(), tiny_batch(6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        encoded = objective.encode(model, batch)
        loss = objective.reduce(model, encoded)["loss"]
    assert encoded["image_features"].dtype == torch.bfloat16
    image, text = (F.normalize(encoded[f"{tower}_features"].double(), dim=1) for tower in ("image", "text"))
    exact = contrastive_loss(image, text, model.logit_scale.double().exp(), batch.text_id)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), abs=1e-6)


def test_in_batch_retrieval_counts_equal_captions_and_images_as_found():
    model, objective = tiny_model(), Contrastive()
    eye = torch.eye(3, dtype=torch.float64)
    images = eye[[0, 1, 2]]
    texts = eye[[1, 0, 2]]
    encoded = {"image_features": images, "text_features": texts, "text_id": torch.tensor([7, 7, 8])}
    encoded["image_id"] = torch.arange(3)
    assert objective.reduce(model, encoded)["image_to_text_recall_at_1"].item() == 1.0
    encoded["text_id"] = torch.tensor([7, 6, 8])
    assert objective.reduce(model, encoded)["image_to_text_recall_at_1"].item() == pytest.approx(1 / 3)
    encoded["image_id"] = torch.tensor([1, 1, 2])
    assert objective.reduce(model, encoded)["text_to_image_recall_at_1"].item() == 1.0


def test_a_temperature_below_the_lowest_is_refused():
    assert Contrastive(temperature=0.1, max_scale=10).max_scale == 10
    with pytest.raises(ValueError, match=r"temperature 0.05 is a factor of 20, above max_scale 15"):
        Contrastive(temperature=0.05, max_scale=15)
