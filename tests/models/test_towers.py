"""What each tower promises beyond the contract."""

import pytest
import torch

from clip_lightning.models import ModifiedResNet, Pixels, TextTransformer, VisionTransformer


@pytest.fixture
def text_tower():
    return TextTransformer(context_length=16, vocab_size=40, width=32, depth=2, num_heads=4).eval()


@torch.no_grad()
def test_trimmed_text_gives_the_features_of_the_full_context(text_tower):
    text, length = torch.randint(0, 40, (3, 16)), torch.tensor([2, 5, 4])
    full = text_tower(text, length)
    torch.testing.assert_close(text_tower(text[:, :5], length), full)
    text[:, 5:] = 0
    torch.testing.assert_close(text_tower(text, length), full, msg="what follows the end is not seen")


@torch.no_grad()
def test_every_token_up_to_the_end_is_seen(text_tower):
    text, length = torch.randint(0, 39, (1, 16)), torch.tensor([6])
    full = text_tower(text, length)
    for position in range(6):
        changed = text.clone()
        changed[0, position] += 1
        assert not torch.allclose(text_tower(changed, length), full), position


def test_a_text_longer_than_the_context_is_refused(text_tower):
    with pytest.raises(ValueError, match="17 tokens, but context_length is 16"):
        text_tower(torch.zeros(1, 17, dtype=torch.int64), torch.tensor([17]))


@torch.no_grad()
def test_a_vision_transformer_sees_every_patch_and_its_place():
    tower = VisionTransformer(16, 8, width=16, depth=1, num_heads=2).eval()
    image = torch.randn(1, 3, 16, 16)
    for row in (0, 8):
        changed = image.clone()
        changed[..., row : row + 8, 8:] += 1
        assert not torch.allclose(tower(changed), tower(image))
    assert not torch.allclose(tower(image.roll(8, dims=-1)), tower(image))


def test_a_bottleneck_starts_as_the_identity():
    tower = ModifiedResNet(16, (2, 2), output_dim=8, width=8)
    for stage in tower.stages:
        x = torch.rand(2, stage[0].norm3.num_features, 4, 4)
        torch.testing.assert_close(stage[1](x), x)


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_a_resnet_has_as_many_stages_as_asked_for(stages):
    tower = ModifiedResNet(64, (1,) * stages, output_dim=6, width=8)
    assert len(tower.blocks()) == 1 + stages
    x = tower.stem(torch.randn(2, 3, 64, 64))
    for stage in tower.stages:
        x = stage(x)
    side = 16 // 2 ** (stages - 1)
    assert x.shape == (2, 8 * 4 * 2 ** (stages - 1), side, side)


@pytest.mark.parametrize(
    "build",
    [
        lambda dropout: VisionTransformer(16, 8, 16, 2, 2, dropout=dropout),
        lambda dropout: TextTransformer(4, 9, 16, 2, 2, dropout=dropout),
    ],
)
def test_dropout_acts_in_training_alone(build):
    inputs = (torch.randn(2, 3, 16, 16),)
    tower = build(0.5)
    if isinstance(tower, TextTransformer):
        inputs = (torch.randint(0, 9, (2, 4)), torch.tensor([4, 3]))
    assert not torch.equal(tower(*inputs), tower(*inputs))
    tower.eval()
    assert torch.equal(tower(*inputs), tower(*inputs))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: VisionTransformer(30, 8, 16, 1, 2), "patch_size 8 does not divide image_size 30"),
        (lambda: VisionTransformer(32, 8, 16, 1, 3), "num_heads 3 does not divide 16"),
        (lambda: VisionTransformer(32, 8, 16, 1, 2, pixels=Pixels(64)), "pixels.size 64 is not image_size 32"),
        (lambda: TextTransformer(8, 9, 16, 1, 5), "num_heads 5 does not divide 16"),
        (lambda: ModifiedResNet(48, (1, 1, 1, 1), 8), "image_size 48 is no multiple of 32, the stride of 4 stages"),
        (lambda: ModifiedResNet(32, (1, 0), 8), r"blocks \(1, 0\) has an empty stage"),
        (lambda: ModifiedResNet(32, (), 8), r"blocks \(\) has an empty stage"),
        (lambda: ModifiedResNet(32, (1, 1), 8, width=8, num_heads=3), "num_heads 3 does not divide 64"),
    ],
)
def test_sizes_that_do_not_fit_are_named(build, words):
    with pytest.raises(ValueError, match=words):
        build()
