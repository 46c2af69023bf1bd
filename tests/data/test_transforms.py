import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from clip_lightning.data import CenterCrop, RandomSquareCrop
from clip_lightning.spec import build, spec_of


def photo(height, width, seed=0):
    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    pixels = np.array(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))
    return torch.from_numpy(pixels).permute(2, 0, 1)


@pytest.mark.parametrize("shape", [(60, 90), (91, 60), (40, 40), (33, 200), (20, 31), (1, 2)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_centre_crop_equals_torchvision_and_pillow(shape, interpolation):
    image = photo(*shape)
    found = CenterCrop(32, interpolation)(image)
    resized = tv.resize(image, [32], InterpolationMode(interpolation), antialias=True)
    assert torch.equal(found, tv.center_crop(resized, [32, 32]))
    pillow = tv.resize(tv.to_pil_image(image), [32], InterpolationMode(interpolation))
    difference = (found.int() - tv.pil_to_tensor(tv.center_crop(pillow, [32, 32])).int()).abs()
    assert difference.max() <= 1
    assert difference.float().mean() < 0.1


def test_squash_takes_the_whole_image():
    image = photo(60, 90)
    expected = tv.resize(image, [32, 32], InterpolationMode.BICUBIC, antialias=True)
    assert torch.equal(CenterCrop(32, resize="squash")(image), expected)


@pytest.mark.parametrize("transform", [CenterCrop(24), RandomSquareCrop(24, scale=(1.0, 1.0))])
def test_an_image_of_the_right_size_is_the_same_object(transform):
    image = photo(24, 24)
    assert transform(image, np.random.default_rng(0)) is image


def test_random_crop_is_a_square_of_the_image():
    # A ramp tells which square it was: red grows with the row, green with the column.
    rows, columns = torch.meshgrid(torch.arange(100), torch.arange(200), indexing="ij")
    image = torch.stack([rows, columns, rows * 0]).to(torch.uint8)
    generator = np.random.default_rng(0)
    crop = RandomSquareCrop(20, scale=(0.5, 0.8))
    sides, tops, lefts = [], [], []
    for _ in range(300):
        found = crop(image, generator).float()
        height, width = ((found[channel].max() - found[channel].min()).item() * 20 / 19 for channel in (0, 1))
        assert abs(height - width) < 4
        sides.append(height)
        tops.append((found[0].mean().item() - (height - 1) / 2) / (100 - height))
        lefts.append((found[1].mean().item() - (width - 1) / 2) / (200 - width))
    assert min(sides) == pytest.approx(50, abs=3)
    assert max(sides) == pytest.approx(80, abs=3)
    for places in (tops, lefts):
        assert min(places) < 0.1
        assert max(places) > 0.9
        assert np.mean(places) == pytest.approx(0.5, abs=0.07)


def test_full_scale_crops_the_resized_image():
    image = photo(32, 64)
    found = RandomSquareCrop(32, scale=(1.0, 1.0))(image, np.random.default_rng(1))
    assert sum(torch.equal(found, image[:, :, left : left + 32]) for left in range(33)) == 1


def test_chance_comes_from_the_generator_alone():
    image, crop = photo(50, 70), RandomSquareCrop(16)
    first, second = (crop(image, np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, crop(image, np.random.default_rng(4)))
    assert torch.equal(crop(image), crop(image))


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (2000, 2)])
def test_odd_shapes_survive(shape):
    for transform in (CenterCrop(8), CenterCrop(8, resize="squash"), RandomSquareCrop(8, scale=(0.1, 1.0))):
        assert transform(photo(*shape), np.random.default_rng(0)).shape == (3, 8, 8)


def test_transforms_are_configurable():
    for transform in (CenterCrop(8, "bilinear", "squash"), RandomSquareCrop(8, (0.5, 0.9))):
        image = photo(20, 30)
        copy = build(spec_of(transform))
        assert torch.equal(copy(image, np.random.default_rng(0)), transform(image, np.random.default_rng(0)))


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"scale \(0.0, 1.0\)"):
        RandomSquareCrop(8, scale=(0.0, 1.0))
    with pytest.raises(ValueError, match="size 0"):
        CenterCrop(0)
    with pytest.raises(ValueError, match="resize 'longest'"):
        CenterCrop(8, resize="longest")
