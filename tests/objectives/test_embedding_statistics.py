"""Statistics of embeddings against their definitions in numpy, and at their extremes."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from clip_lightning.objectives.embedding_statistics import effective_rank, embedding_statistics, mean_cosine


@pytest.mark.parametrize("shape", [(40, 8), (8, 40)])
def test_they_are_what_they_are_defined_as(shape):
    embeds = F.normalize(torch.randn(shape) + 0.3, dim=1)
    x = embeds.double().numpy()
    cosines = x @ x.T
    off_diagonal = cosines[~np.eye(len(x), dtype=bool)]
    assert mean_cosine(embeds).item() == pytest.approx(off_diagonal.mean(), abs=1e-5)
    eigenvalues = np.linalg.eigvalsh(np.cov(x.T))
    assert effective_rank(embeds).item() == pytest.approx(eigenvalues.sum() ** 2 / (eigenvalues**2).sum(), rel=1e-4)


def test_the_extremes():
    same = F.normalize(torch.ones(10, 4), dim=1)
    assert mean_cosine(same).item() == pytest.approx(1)
    assert effective_rank(same).item() == 1
    spread = torch.cat([torch.eye(6), -torch.eye(6)])
    assert mean_cosine(spread).item() == pytest.approx(-1 / 11)
    assert effective_rank(spread).item() == pytest.approx(6)


def test_logits_of_positives_and_negatives_leave_out_captions_that_repeat():
    image, text = torch.randn(6, 5), torch.randn(6, 5)
    text_id = torch.tensor([1, 2, 1, 3, 4, 5])
    encoded = {"image_features": image, "text_features": text, "text_id": text_id}
    found = embedding_statistics(encoded, torch.tensor(10.0))
    logits = (10 * F.normalize(image, dim=1) @ F.normalize(text, dim=1).T).double().numpy()
    mask = text_id[:, None].numpy() != text_id[None, :].numpy()
    for name, values in (("positive", logits.diagonal()), ("negative", logits[mask])):
        assert found[f"{name}_logit_mean"].item() == pytest.approx(values.mean(), abs=1e-5)
        assert found[f"{name}_logit_std"].item() == pytest.approx(values.std(), abs=1e-5)
        assert found[f"{name}_logit_max"].item() == pytest.approx(values.max(), abs=1e-5)


def test_without_negatives_there_is_no_number_and_without_features_nothing():
    encoded = {name: torch.randn(3, 4) for name in ("image_features", "text_features")}
    found = embedding_statistics({**encoded, "text_id": torch.zeros(3)}, torch.tensor(1.0))
    assert math.isnan(found["negative_logit_max"])
    assert embedding_statistics(encoded, torch.tensor(1.0)) == {}
