"""Decay groups, and the optimiser over them."""

import functools

import pytest
import torch
from torch import nn

from clip_lightning.optim import PAPER_ADAMW, build_optimizer, decay_groups


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.norm = nn.LayerNorm(4)
        self.conv = nn.Conv2d(3, 2, 3)
        self.embedding = nn.Embedding(5, 4)
        self.position_embedding = nn.Parameter(torch.zeros(6, 4))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 4))
        self.logit_scale = nn.Parameter(torch.tensor(1.0))
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.special = nn.Parameter(torch.zeros(2, 2))

    def no_weight_decay(self):
        return {"special"}


def test_only_matrices_decay():
    model = Model()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed, others = decay_groups(model)
    assert {names[id(p)] for p in decayed["params"]} == {"linear.weight", "conv.weight", "embedding.weight"}
    assert others["weight_decay"] == 0.0
    assert {names[id(p)] for p in others["params"]} == {
        "linear.bias", "norm.weight", "norm.bias", "conv.bias", "position_embedding", "cls_token", "logit_scale",
        "special",
    }  # fmt: skip


def test_parameters_of_other_learning_rates_have_groups_of_their_own():
    model = Model()
    factors = {model.linear.weight: 0.5, model.linear.bias: 0.5, model.conv.weight: 0.1, model.frozen.weight: 0.7}
    optimizer = build_optimizer(
        functools.partial(torch.optim.SGD, lr=2.0, weight_decay=0.3), model, fused=False, lr_factors=factors
    )
    found = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    assert found[id(model.linear.weight)] == (1.0, 0.3)
    assert found[id(model.linear.bias)] == (1.0, 0.0)
    assert found[id(model.conv.weight)] == (pytest.approx(0.2), 0.3)
    assert found[id(model.embedding.weight)] == (2.0, 0.3)
    assert found[id(model.norm.bias)] == (2.0, 0.0)
    assert id(model.frozen.weight) not in found
    assert optimizer.param_groups[0]["lr"] == 2.0, "what is logged as the learning rate"
    assert all(group["params"] and "lr_factor" not in group for group in optimizer.param_groups)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5)
    assert sorted({group["lr"] for group in optimizer.param_groups}) == pytest.approx([0.1, 0.5, 1.0])
    assert scheduler.base_lrs[0] == 2.0


def test_the_optimiser_is_fused_where_it_can_be():
    assert build_optimizer(PAPER_ADAMW, Model(), fused=True).defaults["fused"] is True
    assert not build_optimizer(PAPER_ADAMW, Model(), fused=False).defaults["fused"]
    explicit = functools.partial(torch.optim.AdamW, fused=False)
    assert build_optimizer(explicit, Model(), fused=True).defaults["fused"] is False
    assert isinstance(build_optimizer(functools.partial(torch.optim.Rprop), Model(), fused=True), torch.optim.Rprop)
