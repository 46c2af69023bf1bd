"""What each tower promises beyond the contract."""

import pytest
import torch
from torchvision.ops import stochastic_depth

from clip_lightning.models import ModifiedResNet, Pixels, TextTransformer, VisionTransformer
from clip_lightning.models.layers import DropPath, drop_paths
from clip_lightning.models.vit import drop_patches


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


def test_a_resnets_blocks_are_the_stem_and_every_bottleneck():
    tower = ModifiedResNet(32, (2, 3), output_dim=6, width=8)
    assert tower.blocks() == (tower.stem, *tower.stages[0], *tower.stages[1])


def test_paths_are_dropped_as_torchvision_drops_them():
    x = torch.randn(64, 3, 5)
    torch.manual_seed(5)
    expected = stochastic_depth(x, 0.3, "row", training=True)
    torch.manual_seed(5)
    drop = DropPath(0.3)
    assert torch.equal(drop(x), expected)
    assert drop.eval()(x) is x
    assert drop_paths(0.3, 4) == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert drop_paths(0.3, 1) == [0.0]


def test_dropped_patches_leave_the_class_token_and_distinct_patches_of_each_image():
    x = torch.arange(2 * 9).float().view(2, 9, 1)
    kept = drop_patches(x, 0.5)
    assert kept.shape == (2, 5, 1)
    assert torch.equal(kept[:, 0], x[:, 0])
    chosen = [set(row.flatten().tolist()) for row in kept[:, 1:]]
    assert all(len(row) == 4 for row in chosen)
    assert chosen[0] <= set(range(1, 9))
    assert chosen[1] <= set(range(10, 18))
    many = drop_patches(x[:1].expand(2000, 9, 1), 0.5)[:, 1:].flatten().long().bincount(minlength=9)
    assert many[0] == 0
    assert many[1:].float().std() < 0.1 * many[1:].float().mean(), "every patch is as likely"
    assert drop_patches(x, 0.99).shape == (2, 2, 1), "one patch at least"


@pytest.mark.parametrize(
    "build",
    [
        lambda dropout: VisionTransformer(16, 8, 16, 2, 2, dropout=dropout),
        lambda drop_path: VisionTransformer(16, 8, 16, 2, 2, drop_path=drop_path),
        lambda patch_dropout: VisionTransformer(16, 8, 16, 2, 2, patch_dropout=patch_dropout),
        lambda dropout: TextTransformer(4, 9, 16, 2, 2, dropout=dropout),
        lambda drop_path: TextTransformer(4, 9, 16, 2, 2, drop_path=drop_path),
    ],
)
def test_dropout_acts_in_training_alone(build):
    inputs = (torch.randn(8, 3, 16, 16),)
    tower = build(0.5)
    if isinstance(tower, TextTransformer):
        inputs = (torch.randint(0, 9, (8, 4)), torch.tensor([4, 3] * 4))
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
        (lambda: VisionTransformer(16, 8, 16, 1, 2, patch_dropout=1.0), "patch_dropout 1.0 is no share below 1"),
        (lambda: VisionTransformer(16, 8, 16, 1, 2, drop_path=1.0), "drop_path 1.0 is no probability below 1"),
        (lambda: TextTransformer(8, 9, 16, 1, 2, drop_path=-0.1), "drop_path -0.1 is no probability"),
        (lambda: VisionTransformer(16, 8, 16, 1, 2, dropout=1.5), "dropout 1.5 is no probability from 0 to below 1"),
        (lambda: VisionTransformer(16, 8, 16, 0, 2), "depth 0 is not above 0"),
        (lambda: VisionTransformer(16, 8, -16, 1, 2), "width -16 is not above 0"),
        (lambda: VisionTransformer(16, 8, 16, 1, 2, mlp_ratio=0), "mlp_ratio 0 leaves no hidden channel of 16"),
        (lambda: TextTransformer(0, 9, 16, 1, 2), "context_length 0 is not above 0"),
        (lambda: TextTransformer(8, 9, 16, 0, 2), "depth 0 is not above 0"),
        (lambda: ModifiedResNet(32, (1, 1), 0), "output_dim 0 is not above 0"),
    ],
)
def test_sizes_that_do_not_fit_are_named(build, words):
    with pytest.raises(ValueError, match=words):
        build()
