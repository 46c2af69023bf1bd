"""What every tower of the package, and the example of a user's own, must do. A new one needs a row in ``SMALL``."""

import importlib
import inspect
import pkgutil

import pytest
import torch

from clip_lightning import models
from clip_lightning.models import (
    BagOfWords,
    HFTextEncoder,
    ImageEncoder,
    ModifiedResNet,
    TextEncoder,
    TextTransformer,
    TimmImageEncoder,
    VisionTransformer,
)
from clip_lightning.spec import build, spec_of
from examples.mixer import Mixer

TINY_BERT = {
    "model_type": "bert", "vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 8, "type_vocab_size": 1,
}  # fmt: skip

SMALL = {
    VisionTransformer: {"image_size": 16, "patch_size": 8, "width": 16, "depth": 2, "num_heads": 2},
    ModifiedResNet: {"image_size": 32, "blocks": [1, 2], "output_dim": 10, "width": 8},
    TimmImageEncoder: {"name": "test_vit", "image_size": 32},
    TextTransformer: {"context_length": 8, "vocab_size": 20, "width": 16, "depth": 2, "num_heads": 2},
    BagOfWords: {"context_length": 8, "vocab_size": 20, "width": 16},
    HFTextEncoder: {"context_length": 8, "vocab_size": 20, "config": TINY_BERT},
    Mixer: {"image_size": 16, "patch_size": 4, "width": 16, "depth": 2},
}

# A bias of the keys moves all scores of a query alike, so softmax takes it out.
WITHOUT_EFFECT = {"attention_pool.key.bias"} | {f"model.encoder.layer.{n}.attention.self.key.bias" for n in (0, 1)}


def concrete_subclasses(base):
    for module in pkgutil.walk_packages(models.__path__, f"{models.__name__}."):
        importlib.import_module(module.name)
    found, queue = set(), [base]
    while queue:
        queue += (subclass := queue.pop()).__subclasses__()
        if not inspect.isabstract(subclass) and subclass.__module__.split(".")[0] == "clip_lightning":
            found.add(subclass)
    return found


def test_every_tower_of_the_package_is_tested():
    towers = concrete_subclasses(ImageEncoder) | concrete_subclasses(TextEncoder)
    assert towers == SMALL.keys() - {Mixer}


@pytest.fixture(params=SMALL, ids=lambda tower: tower.__name__)
def tower(request):
    return request.param(**SMALL[request.param]).eval()


def batch_for(tower):
    if isinstance(tower, ImageEncoder):
        return (torch.randn(4, 3, tower.image_size, tower.image_size),)
    text = torch.randint(0, tower.vocab_size, (4, tower.context_length))
    return text, torch.tensor([2, tower.context_length, 3, 5])


@torch.no_grad()
def test_a_tower_returns_its_output_dim(tower):
    pooled = tower(*batch_for(tower))
    assert pooled.shape == (4, tower.output_dim)
    assert pooled.isfinite().all()
    assert all(isinstance(block, torch.nn.Module) for block in tower.blocks())


@torch.no_grad()
def test_a_sample_does_not_depend_on_the_rest_of_its_batch(tower):
    batch = batch_for(tower)
    one_by_one = torch.cat([tower(*(part[row : row + 1] for part in batch)) for row in range(4)])
    torch.testing.assert_close(tower(*batch), one_by_one, rtol=1e-4, atol=1e-5)


def test_the_gradient_reaches_every_parameter(tower):
    with torch.no_grad():  # a fresh ResNet closes its branches by gains of zero
        for parameter in tower.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    pooled = tower(*batch_for(tower))
    (pooled * torch.randn_like(pooled)).sum().backward()
    unreached = {name for name, parameter in tower.named_parameters() if parameter.grad is None}
    still = {name for name, parameter in tower.named_parameters() if name not in unreached and not parameter.grad.any()}
    assert not unreached
    assert still <= WITHOUT_EFFECT


@torch.no_grad()
def test_a_specification_and_the_weights_are_the_whole_tower(tower):
    rebuilt = build(spec_of(tower), allow_modules=["examples.mixer"]).eval()
    assert type(rebuilt) is type(tower)
    assert spec_of(rebuilt) == spec_of(tower)
    batch = batch_for(tower)
    assert not torch.equal(rebuilt(*batch), tower(*batch)), "the specification holds no weights"
    rebuilt.load_state_dict(tower.state_dict())
    assert torch.equal(rebuilt(*batch), tower(*batch))


@pytest.mark.slow
@torch.no_grad()
def test_a_tower_compiles_as_one_graph(tower):
    batch = batch_for(tower)
    torch.testing.assert_close(torch.compile(tower, fullgraph=True)(*batch), tower(*batch), rtol=1e-4, atol=1e-5)
