"""Adapters on either tower: where they begin, what they train, and that nothing of them stays once they are merged."""

import copy

import peft
import pytest
import torch

from clip_lightning.models import (
    CLIP,
    HFTextEncoder,
    LoRA,
    ModifiedResNet,
    TextTransformer,
    TimmImageEncoder,
    VisionTransformer,
)
from clip_lightning.models.lora import merge_lora, without_adapters
from clip_lightning.spec import build, spec_of

BERT = {"model_type": "bert", "vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 32, "max_position_embeddings": 8}  # fmt: skip
IMAGES = {
    "vit": lambda: VisionTransformer(32, 8, 16, 2, 2),
    "resnet": lambda: ModifiedResNet(32, (1, 1), output_dim=8, width=8),
    "timm": lambda: TimmImageEncoder("test_vit", image_size=32),
}
TEXTS = {"own": lambda: TextTransformer(8, 20, 16, 2, 2), "hf": lambda: HFTextEncoder(8, 20, config=BERT)}


@pytest.fixture(params=[("vit", "own"), ("resnet", "hf"), ("timm", "own")], ids="-".join)
def parts(request):
    image, text = request.param
    return IMAGES[image](), TEXTS[text]()


def adapted(parts, **changes):
    return CLIP(
        *copy.deepcopy(parts), embed_dim=8, image_lora=LoRA(rank=4, **changes), text_lora=LoRA(rank=2, **changes)
    )


def features(model):
    torch.manual_seed(3)
    model.eval()
    with torch.no_grad():
        return model(torch.randn(3, 3, 32, 32), torch.randint(1, 20, (3, 8)), torch.tensor([8, 4, 6]))


def train_a_little(model):
    optimizer = torch.optim.SGD([parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.5)
    for _ in range(3):
        image, text = model.train()(torch.randn(3, 3, 32, 32), torch.randint(1, 20, (3, 8)), torch.tensor([8, 4, 6]))
        (image.square().mean() + text.square().mean()).backward()
        optimizer.step()


def test_adapters_change_nothing_until_they_are_trained_and_are_all_that_is(parts):
    plain = CLIP(*copy.deepcopy(parts), embed_dim=8)
    model = adapted(parts)
    with without_adapters(model):
        model.load_state_dict(plain.state_dict())
    for one, other in zip(features(model), features(plain), strict=True):
        torch.testing.assert_close(one, other)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    of_towers = {name for name in trained if "encoder" in name}
    assert of_towers
    assert all(".lora_" in name for name in of_towers)
    assert trained - of_towers == {"image_projection.weight", "text_projection.weight", "logit_scale"}


def test_merged_adapters_leave_the_plain_models_names_and_the_same_features(parts):
    plain = CLIP(*copy.deepcopy(parts), embed_dim=8)
    model = adapted(parts)
    before = features(model)
    train_a_little(model)
    after = features(model)
    assert not torch.allclose(before[0], after[0])
    assert not torch.allclose(before[1], after[1])
    merge_lora(model)
    assert list(model.state_dict()) == list(plain.state_dict())
    assert spec_of(model) == spec_of(plain)
    assert not any(isinstance(module, peft.tuners.tuners_utils.BaseTunerLayer) for module in model.modules())
    plain.load_state_dict(model.state_dict())
    for one, other in zip(features(plain), after, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_specification_rebuilds_the_adapters(parts):
    model = adapted(parts, dropout=0.1)
    train_a_little(model)
    rebuilt = build(spec_of(model))
    rebuilt.load_state_dict(model.state_dict())
    assert all(torch.equal(one, other) for one, other in zip(features(rebuilt), features(model), strict=True))
    assert spec_of(rebuilt) == spec_of(model)


def test_adapters_are_put_back_with_the_weights_they_had():
    model = adapted((IMAGES["vit"](), TEXTS["own"]()))
    train_a_little(model)
    before, parameters = features(model), list(model.parameters())
    with without_adapters(model):
        assert not any("lora" in name for name in model.state_dict())
    assert all(torch.equal(one, other) for one, other in zip(features(model), before, strict=True))
    assert all(one is other for one, other in zip(model.parameters(), parameters, strict=True))


def test_adapters_that_cannot_be_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="rank 0 of LoRA is below 1"):
        LoRA(rank=0)
    with pytest.raises(ValueError, match="alpha 0 of LoRA is not above 0"):
        LoRA(alpha=0)
    with pytest.raises(ValueError, match=r"dropout 1\.5 of LoRA is no probability from 0 to below 1"):
        LoRA(dropout=1.5)
    with pytest.raises(ValueError, match=r"text_lora is LoRA\(.*, but there is no text_encoder"):
        CLIP(VisionTransformer(32, 8, 16, 1, 2), None, embed_dim=8, text_lora=LoRA())
    tower = VisionTransformer(32, 8, 16, 1, 2)
    tower.blocks = lambda: ()
    with pytest.raises(ValueError, match="VisionTransformer has no linear layer"):
        CLIP(tower, None, embed_dim=8, image_lora=LoRA())
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(ValueError, match=r"pip install 'clip-lightning\[lora\]'"):
        CLIP(IMAGES["vit"](), None, embed_dim=8, image_lora=LoRA())
