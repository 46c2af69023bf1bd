"""The sigmoid objective: where it begins, what it learns, and what of it is stored."""

import math

import pytest
import torch
from dense import dense_sigmoid, embeds, numbers
from torch import nn

from clip_lightning.objectives import Contrastive, Sigmoid, sigmoid_loss
from clip_lightning.objectives.scoring import ContrastiveScorer
from clip_lightning.optim import decay_groups


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.logit_scale = nn.Parameter(torch.zeros((), dtype=torch.float64))


def encoded(ids, n=6):
    features = {"image_features": 3 * embeds(n, seed=1), "text_features": embeds(n, seed=2)}
    return {**features, "text_id": torch.tensor(ids), "image_id": torch.arange(n)}


def test_it_begins_as_in_the_paper():
    model, objective = Model(), Sigmoid()
    with torch.no_grad():
        objective.logit_bias.fill_(3)
    objective.setup(model)
    assert model.logit_scale.item() == pytest.approx(math.log(10))
    assert objective.logit_bias.item() == -10
    assert [*objective.state_dict()] == ["logit_bias"]


@pytest.mark.parametrize("repeated", [True, False])
def test_reduce_is_the_loss_of_the_normalised_features(repeated):
    model, objective, ids = Model(), Sigmoid(bias=-2.0, repeated_captions=repeated), [0, 1, 2, 0, 1, 4]
    objective.setup(model)
    reduced = objective.reduce(model, encoded(ids))
    expected = dense_sigmoid(
        embeds(6, seed=1), embeds(6, seed=2), *numbers(10.0, -2.0), torch.tensor(ids) if repeated else None
    )
    torch.testing.assert_close(reduced["loss"], expected, rtol=1e-7, atol=0)
    assert reduced["bias"].item() == -2
    assert set(reduced) == {*objective.reports, "pairs"}
    reduced["loss"].backward()
    assert objective.logit_bias.grad.item() != 0


def test_what_is_found_is_what_the_contrastive_objective_finds():
    model = Model()
    for ids in ([0, 1, 2, 0, 1, 4], [0, 0, 0, 1, 1, 1]):
        shares = [
            {name: value for name, value in objective.reduce(model, encoded(ids)).items() if "recall" in name}
            for objective in (Sigmoid(), Contrastive())
        ]
        assert shares[0] == shares[1]
        cosines = embeds(6, seed=1) @ embeds(6, seed=2).T
        found = [ids[place] == own for own, place in zip(ids, cosines.argmax(1).tolist(), strict=True)]
        assert shares[0]["image_to_text_recall_at_1"].item() == pytest.approx(sum(found) / 6)
        found = [ids[place] == own for own, place in zip(ids, cosines.argmax(0).tolist(), strict=True)]
        assert shares[0]["text_to_image_recall_at_1"].item() == pytest.approx(sum(found) / 6)


def test_a_perfect_answer_costs_nothing_and_none_the_log_of_two():
    eye = torch.eye(5, dtype=torch.float64)
    assert sigmoid_loss(eye, eye, *numbers(200.0, -100.0)).item() == pytest.approx(0, abs=1e-12)
    assert sigmoid_loss(eye, eye, *numbers(0.0, 0.0)).item() == pytest.approx(5 * math.log(2))


def test_the_bias_does_not_decay():
    objective = Sigmoid()
    groups = decay_groups(objective)
    assert [group.get("weight_decay") for group in groups if group["params"]] == [0.0]


def test_the_softmax_of_its_scores_is_the_probability_that_one_class_alone_fits():
    """So what scores a contrastive model's classes scores this one's: the bias is the same for all classes."""
    logits = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64) - 3
    fits = torch.sigmoid(logits)
    alone = torch.stack([fits[c] * (1 - fits[torch.arange(3) != c]).prod() for c in range(3)])
    torch.testing.assert_close(alone / alone.sum(), (logits + 3).softmax(0))
    assert isinstance(Sigmoid().scorer(None, None), ContrastiveScorer)


@pytest.mark.parametrize("temperature", [0.0, 0.001])
def test_a_wrong_temperature_is_refused(temperature):
    with pytest.raises(ValueError, match=str(temperature)):
        Sigmoid(temperature)
