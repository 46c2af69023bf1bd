"""Locked towers, learning rates by layer, and gradient checkpointing in every tower."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from clip_lightning.models import (
    CLIP,
    HFTextEncoder,
    ModifiedResNet,
    TextTransformer,
    TimmImageEncoder,
    TowerTuning,
    VisionTransformer,
)
from clip_lightning.models.tuning import learning_rate_factors, parameters_by_depth, prepare

BERT = {
    "model_type": "bert", "vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 8,
}  # fmt: skip
TOWERS = {
    "vit": lambda: VisionTransformer(32, 8, 16, 3, 2, dropout=0.1, drop_path=0.3, patch_dropout=0.5),
    "resnet": lambda: ModifiedResNet(32, (2, 2), output_dim=8, width=8),
    "timm vit": lambda: TimmImageEncoder("test_vit", image_size=32, drop_path=0.3),
    "timm resnet": lambda: TimmImageEncoder("test_resnet", image_size=32),
    "timm stages": lambda: TimmImageEncoder("poolformer_s12", image_size=32),
    "timm efficientnet": lambda: TimmImageEncoder("test_efficientnet", image_size=32),
    "text": lambda: TextTransformer(8, 20, 16, 3, 2, dropout=0.1, drop_path=0.3),
    "hf": lambda: HFTextEncoder(8, 20, config=BERT),
}


@pytest.fixture(params=TOWERS)
def tower(request):
    made = TOWERS[request.param]()
    with torch.no_grad():  # a fresh ResNet closes its branches by gains of zero
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return made


def batch_for(tower, size=4):
    if hasattr(tower, "image_size"):
        return (torch.randn(size, 3, tower.image_size, tower.image_size),)
    return torch.randint(1, 20, (size, 8)), torch.tensor([8, 3, 5, 8])[torch.arange(size) % 4]


def step(tower, batch):
    """One forward and backward pass; returns the output and the bytes that were kept in between."""
    kept = {}

    def keep(tensor):
        if not isinstance(tensor, nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(1)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        pooled = tower(*batch)
    bytes_kept = sum(kept.values())
    weight = torch.linspace(-1, 1, pooled.numel()).view_as(pooled)
    (pooled * weight).sum().backward()
    return pooled.detach(), bytes_kept


def test_checkpointing_gives_the_same_gradients_and_statistics_for_less_memory(tower):
    plain, saving = tower, copy.deepcopy(tower)
    prepare(saving, TowerTuning(gradient_checkpointing=True))
    assert [name for name, _ in saving.named_parameters()] == [name for name, _ in plain.named_parameters()]
    batch = batch_for(plain)
    expected, bytes_plain = step(plain, batch)
    found, bytes_saving = step(saving, batch)
    assert torch.equal(found, expected)
    for (name, one), other in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad), name
    for (name, one), other in zip(plain.named_buffers(), saving.buffers(), strict=True):
        assert torch.equal(one, other), f"{name} moved twice"
    assert bytes_saving < 0.8 * bytes_plain, (bytes_saving, bytes_plain)


def test_a_copy_of_a_tower_that_saves_memory_computes_by_itself(tower):
    prepare(tower, TowerTuning(gradient_checkpointing=True))
    twin = copy.deepcopy(tower)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    batch = batch_for(tower)
    twin(*batch).sum().backward()
    assert all(parameter.grad is None for parameter in tower.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vit", "resnet", "text"])
def test_checkpointing_of_a_whole_model_saves_most_of_its_memory(kind):
    build = {
        "vit": lambda: VisionTransformer(224, 32, 256, 12, 4),
        "resnet": lambda: ModifiedResNet(128, (3, 4, 6, 3), output_dim=64, width=16),
        "text": lambda: TextTransformer(77, 100, 128, 12, 2),
    }[kind]
    tower = build()
    batch = (torch.randint(0, 100, (8, 77)), torch.full((8,), 77)) if kind == "text" else batch_for(tower, 8)
    _, bytes_plain = step(tower, batch)
    prepare(tower, TowerTuning(gradient_checkpointing=True))
    _, bytes_saving = step(tower, batch)
    assert bytes_saving < 0.3 * bytes_plain, (bytes_saving, bytes_plain)


def test_a_locked_tower_rests(tower):
    prepare(tower, TowerTuning(locked=True))
    is_image = hasattr(tower, "image_size")
    towers = (tower, None) if is_image else (VisionTransformer(16, 8, 8, 1, 1), tower)
    model = CLIP(*towers, embed_dim=4).train()
    assert not any(parameter.requires_grad for parameter in tower.parameters())
    before = copy.deepcopy(tower.state_dict())
    batch = batch_for(tower)
    encode = model.encode_image if is_image else model.encode_text
    features = encode(*batch)
    features.sum().backward()
    assert (model.image_projection if is_image else model.text_projection).weight.grad is not None
    assert all(torch.equal(value, before[name]) for name, value in tower.state_dict().items())
    assert torch.equal(encode(*batch), features), "nothing is dropped"


def test_the_last_layers_of_a_locked_tower_are_trained(tower):
    prepare(tower, TowerTuning(locked=True, unlocked_blocks=2))
    groups = parameters_by_depth(tower)
    trained = [{parameter.requires_grad for parameter in group} for group in groups]
    depth = len(tower.blocks())
    assert len(groups) == depth + 2
    assert set().union(*trained[: depth - 1]) == {False}
    assert set().union(*trained[depth - 1 :]) == {True}
    assert {p for group in groups for p in group} == set(tower.parameters())


def test_statistics_of_locked_layers_do_not_move():
    tower = ModifiedResNet(32, (1, 1), output_dim=8, width=8)
    prepare(tower, TowerTuning(locked=True, unlocked_blocks=1))
    model = CLIP(tower, None, image_projection=False).train()
    model.encode_image(torch.randn(4, 3, 32, 32)).sum().backward()
    moved = [norm.running_mean.ne(0).any().item() for norm in tower.modules() if isinstance(norm, _BatchNorm)]
    locked = [norm for block in tower.blocks()[:2] for norm in block.modules() if isinstance(norm, _BatchNorm)]
    assert moved == [False] * len(locked) + [True] * (len(moved) - len(locked))
    assert 0 < len(locked) < len(moved)
    assert not model.eval().training
    assert model.train().training


@pytest.mark.parametrize("kind", ["resnet", "timm resnet", "timm efficientnet"])
def test_fixed_statistics_are_those_of_the_start_while_the_weights_are_trained(kind):
    tower = TOWERS[kind]()
    batch = batch_for(tower)
    expected = tower.eval()(*batch)
    prepare(tower, TowerTuning(fixed_statistics=True))
    model = copy.deepcopy(CLIP(tower, None, 4)).train()
    assert torch.equal(model.image_encoder(*batch), expected), "nothing is normalised by the batch"
    model.encode_image(*batch).sum().backward()
    norms = [layer for layer in model.modules() if isinstance(layer, _BatchNorm)]
    assert norms
    assert all(norm.num_batches_tracked == 0 for norm in norms)
    assert any(norm.weight.grad is not None and norm.weight.grad.any() for norm in norms)
    assert model.training
    assert model.image_encoder.training


def test_learning_rates_fall_from_the_top_to_the_bottom():
    tower = VisionTransformer(16, 8, 8, 3, 1)
    factors = learning_rate_factors(tower, TowerTuning(lr_factor=0.5, layer_decay=0.1))
    assert factors[tower.output_norm.weight] == 0.5
    for depth, layer in enumerate(tower.layers):
        for parameter in layer.parameters():
            assert factors[parameter] == pytest.approx(0.5 * 0.1 ** (3 - depth))
    for stem in (tower.class_token, tower.position_embedding, tower.patch_embedding.weight, tower.embedding_norm.bias):
        assert factors[stem] == pytest.approx(0.5 * 0.1**4)
    assert learning_rate_factors(tower, TowerTuning()) == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"unlocked_blocks": 2}, "unlocked_blocks 2 needs locked true"),
        ({"locked": True, "unlocked_blocks": -1}, "unlocked_blocks -1"),
        ({"lr_factor": 0.0}, "lr_factor 0.0 is not positive; .*locked"),
        ({"layer_decay": 1.5}, "layer_decay 1.5"),
        ({"locked": True, "unlocked_blocks": 4}, "unlocked_blocks 4, but VisionTransformer has 3 layers"),
    ],
)
def test_what_has_no_meaning_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        prepare(TOWERS["vit"](), TowerTuning(**arguments))


def test_a_tower_that_says_nothing_of_its_layers_is_told_what_it_lacks():
    tower = VisionTransformer(16, 8, 8, 1, 1)
    tower.blocks = lambda: ()
    for tuning in (TowerTuning(layer_decay=0.5), TowerTuning(gradient_checkpointing=True)):
        treat = prepare if tuning.gradient_checkpointing else learning_rate_factors
        with pytest.raises(ValueError, match=r"VisionTransformer says nothing of its layers.*blocks\(\)"):
            treat(tower, tuning)
    prepare(tower, TowerTuning(locked=True))


def test_a_model_that_timm_does_not_divide_is_named():
    tower = TimmImageEncoder("pit_ti_224")
    with pytest.raises(ValueError, match=r"timm does not divide 'pit_ti_224' into layers.*take another model"):
        prepare(tower, TowerTuning(gradient_checkpointing=True))
    prepare(tower, TowerTuning(locked=True))
