"""The example of a user's own encoder."""

import pytest
import torch

from clip_lightning.models import CLIP
from clip_lightning.spec import build, spec_of
from examples.mixer import Mixer


@torch.no_grad()
def test_it_is_a_tower_of_clip_like_any_other():
    model = CLIP(Mixer(image_size=16, patch_size=4, width=16, depth=1), None, embed_dim=8)
    image = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    assert model.encode_image(model.normalize(image)).shape == (2, 8)


def test_a_checkpoint_may_name_it_only_with_leave():
    spec = spec_of(Mixer(image_size=16, patch_size=4, width=16, depth=1))
    assert spec["class_path"] == "examples.mixer.Mixer"
    with pytest.raises(ValueError, match=r"allow_modules=\['examples\.mixer'\]"):
        build(spec)
    assert isinstance(build(spec, allow_modules=["examples.mixer"]), Mixer)


def test_a_patch_that_does_not_fit_is_named():
    with pytest.raises(ValueError, match="patch_size 5 does not divide image_size 16"):
        Mixer(image_size=16, patch_size=5, width=16, depth=1)
