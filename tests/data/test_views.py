"""Further versions of a pair: the same crop and caption in another size and other tokens."""

import pytest
import torch
from sources import Numbered
from torchvision.transforms import v2

from clip_lightning.data import (
    Augmented,
    CenterCrop,
    EvaluationPairLoader,
    PairLoader,
    RandomSquareCrop,
    ShapeScenes,
    View,
)
from clip_lightning.text import BPETokenizer, CLIPTokenizer

OURS, THEIRS = CLIPTokenizer(20), BPETokenizer(300, 12, merges=[])


def loader(source, views, crop=lambda size: RandomSquareCrop(size, scale=(0.4, 1.0)), **arguments):
    """Batches of a source, and of its views as plain batches of their own."""
    views = {name: View(crop(size), tokenizer) for name, (size, tokenizer) in views.items()}
    return PairLoader([source], tokenizer=OURS, transform=crop(12), batch_size=4, seed=5, views=views, **arguments)


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("augmented", [False, True])
def test_a_view_is_the_batch_that_its_transform_and_tokenizer_make_alone(num_workers, augmented):
    def crop(size):
        square = RandomSquareCrop(size, scale=(0.4, 1.0))
        return Augmented(square, [v2.ColorJitter(0.5), v2.RandomHorizontalFlip()]) if augmented else square

    source, views = ShapeScenes(size=12), {"small": (6, THEIRS), "same": (12, OURS)}
    found = list(loader(source, views, crop, num_workers=num_workers))
    alone = PairLoader([source], tokenizer=THEIRS, transform=crop(6), batch_size=4, seed=5)
    plain = loader(source, {}, crop)
    for batch, small, same in zip(found, alone, plain, strict=True):
        assert set(batch.views) == {"small", "same"}
        for view, expected in ((batch.views["small"], small), (batch.views["same"], same), (batch, same)):
            for column in ("image", "text", "length", "key", "image_id", "text_id"):
                assert torch.equal(getattr(view, column), getattr(expected, column)), column
    assert all(batch.views == {} for batch in plain)


def test_held_out_pairs_have_views_too():
    views = {"teacher": View(CenterCrop(8), THEIRS)}
    for batch in EvaluationPairLoader(
        [Numbered([7, 4], damaged=[2])], tokenizer=OURS, transform=CenterCrop(6), batch_size=4, views=views
    ):
        view = batch.views["teacher"]
        assert view.image.shape == (len(batch), 3, 8, 8)
        assert torch.equal(view.key, batch.key)
        assert int(view.text.max()) == THEIRS.eos_id
