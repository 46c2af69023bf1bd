"""Augmentations draw from the sample's own stream, and from nothing else."""

import pytest
import torch
from sources import Numbered
from torchvision.transforms import v2

from clip_lightning.data import Augmented, PairLoader, RandomSquareCrop
from clip_lightning.text import CLIPTokenizer

AUGMENTATIONS = [v2.RandomHorizontalFlip(), v2.ColorJitter(0.4, 0.4, 0.4, 0.1), v2.RandomAffine(20, (0.1, 0.1))]
CROP = RandomSquareCrop(12, scale=(0.5, 1.0))


def loader(transform=None, num_workers=0, sources=None):
    return PairLoader(
        sources or [Numbered([7, 4, 9], side=16, damaged=[3])],
        tokenizer=CLIPTokenizer(),
        transform=transform or Augmented(CROP, AUGMENTATIONS),
        batch_size=4,
        seed=5,
        num_workers=num_workers,
    )


def images(one, epochs=2):
    return torch.cat([batch.image for _ in range(epochs) for batch in one])


def test_workers_and_what_was_drawn_before_change_nothing():
    expected = images(loader())
    torch.manual_seed(99)
    torch.rand(7)
    assert torch.equal(images(loader()), expected)
    assert torch.equal(images(loader(num_workers=2)), expected)


@pytest.mark.parametrize("stop", [1, 4, 5, 7])
def test_a_resumed_loader_augments_as_the_uninterrupted_one(stop):
    whole = [batch.image for _, batch in zip(range(10), endless(loader()), strict=False)]
    before, after = loader(), loader()
    for _ in zip(range(stop), endless(before), strict=False):
        pass
    after.load_state_dict(before.state_dict())
    rest = [batch.image for _, batch in zip(range(10 - stop), endless(after), strict=False)]
    assert all(torch.equal(one, other) for one, other in zip(rest, whole[stop:], strict=True))


def endless(one):
    while True:
        yield from one


def test_what_the_model_draws_stays_as_it_was():
    def drawn(one):
        torch.manual_seed(3)
        dropout = torch.nn.Dropout()
        return torch.stack([dropout(torch.ones(64)) for _ in one])

    assert torch.equal(drawn(loader()), drawn(loader(CROP)))


def test_each_visit_is_augmented_anew_and_the_crops_stay_those_without():
    flips = loader(Augmented(CROP, [v2.RandomHorizontalFlip()]))
    plain, flipped = images(loader(CROP), epochs=4), images(flips, epochs=4)
    same = (plain == flipped).flatten(1).all(dim=1)
    mirrored = (plain == flipped.flip(-1)).flatten(1).all(dim=1)
    assert torch.logical_xor(same, mirrored).all()
    assert 0.25 < same.float().mean() < 0.75


def test_in_place_work_does_not_reach_the_source():
    class Lending(Numbered):
        held = torch.full((16, 16, 3), 200, dtype=torch.uint8).numpy()

        def read(self, index):
            return super().read(index).__class__(self.held, ("a",))

    erasing = Augmented(RandomSquareCrop(16, (1.0, 1.0)), [v2.RandomErasing(p=1.0, inplace=True)])
    erased = images(loader(erasing, sources=[Lending([8], side=16)]))
    assert (erased == 0).any()
    assert (Lending.held == 200).all()


def test_without_a_generator_the_crop_stays_as_it_is():
    image = torch.arange(3 * 20 * 24, dtype=torch.int64).reshape(3, 20, 24).to(torch.uint8)
    assert torch.equal(Augmented(CROP, [v2.RandomInvert(p=1.0)])(image), CROP(image))


@pytest.mark.parametrize(
    ("augmentation", "words"),
    [
        (v2.RandomResizedCrop(9), ["RandomResizedCrop", r"uint8 \[3, 9, 9\] of uint8 \[3, 12, 12\]"]),
        (v2.ToDtype(torch.float32, scale=True), ["ToDtype", r"float32 \[3, 12, 12\]"]),
        (v2.ToPILImage(), ["ToPILImage", "it makes Image"]),
        (v2.Normalize([0.5] * 3, [0.5] * 3), ["Normalize", "float tensor"]),
        (v2.RandomApply([v2.Pad(2)], p=0.5), ["RandomApply", r"uint8 \[3, 16, 16\]"]),
    ],
    ids=["another size", "another type", "no tensor", "wrong input", "only sometimes"],
)
def test_what_makes_no_square_of_the_same_size_is_refused_before_training(augmentation, words):
    with pytest.raises(ValueError, match=".*".join(words)):
        Augmented(CROP, [v2.RandomHorizontalFlip(), augmentation])
