import numpy as np
import pytest
import torch
from grey import CROP, Grey, clip, how

from clip_lightning.data.transforms import CenterCrop
from clip_lightning.inference.context import LiveContext
from clip_lightning.inference.feature_cache import FeatureCache, image_tower_hash
from clip_lightning.inference.features import ImagePass, image_features
from clip_lightning.models import CLIP, VisionTransformer
from clip_lightning.objectives.scoring import ContrastiveScorer


@pytest.fixture
def source():
    return Grey(11, damaged=(8,))


def test_what_is_kept_is_what_one_pass_gives_and_no_image_is_encoded_again(tmp_path, source):
    model, cache = clip(), FeatureCache(tmp_path, "model", part_size=4)
    expected = image_features(how(model), source)
    for _ in range(2):
        kept = cache.features(how(model), source)
        for stage in ("pooled", "features"):
            np.testing.assert_allclose(kept.rows[stage], expected.rows[stage], rtol=1e-6)
        np.testing.assert_array_equal(kept.index, expected.index)
        assert kept.missing == {8: "torn"}
    assert len(model.image_encoder.encoded) == 2 * 10


def test_a_pass_that_was_killed_goes_on_behind_the_last_part(tmp_path, source):
    cache, model = FeatureCache(tmp_path, "model", part_size=4), clip()
    whole = cache.features(how(model), source)
    parts = sorted(cache.folder(how(model), source).glob("*.safetensors"))
    assert len(parts) == 3
    parts[1].unlink()
    parts[2].write_bytes(parts[2].read_bytes()[:-9])  # as a copy that was cut
    again = clip()
    told = []
    found = FeatureCache(tmp_path, "model", told.append, part_size=4).features(how(again), source)
    assert told == ["grey: 7 images to encode, 4 are done"]
    assert again.image_encoder.encoded == [4, 5, 6, 7, 9, 10]
    np.testing.assert_array_equal(found.rows["pooled"], whole.rows["pooled"])


@pytest.mark.parametrize("change", ["model", "source", "transform", "part_size"])
def test_other_weights_images_or_transforms_are_kept_apart(tmp_path, source, change):
    model = clip()
    FeatureCache(tmp_path, "model", part_size=4).features(how(model), source)
    told = []
    size = 5 if change == "part_size" else 4
    other = FeatureCache(tmp_path, "other" if change == "model" else "model", told.append, size)
    changed = ImagePass(model, CenterCrop(4, resize="squash") if change == "transform" else CROP)
    other.features(changed, Grey(12) if change == "source" else source)
    assert len(model.image_encoder.encoded) == 10 + (12 if change == "source" else 10)
    assert ("11 images to encode; what is kept of them is of other weights" in told[0]) == (change == "model")


def test_a_tower_without_projection_is_kept_once(tmp_path, source):
    model = clip()
    model.image_projection = None
    cache = FeatureCache(tmp_path, "model")
    cache.features(how(model), source)
    kept = cache.features(how(model), source)
    assert kept.rows["features"] is kept.rows["pooled"]


def test_a_context_reads_what_is_kept(tmp_path, source):
    model = clip()
    first = LiveContext(ContrastiveScorer(model, None), how(model), FeatureCache(tmp_path, "model"))
    rows = first.images(source)
    again = clip()
    second = LiveContext(ContrastiveScorer(again, None), how(again), FeatureCache(tmp_path, "model"))
    np.testing.assert_array_equal(second.images(source).values, rows.values)
    assert again.image_encoder.encoded == []
    assert torch.equal(torch.from_numpy(rows.index), torch.arange(11)[torch.arange(11) != 8])


def test_the_hash_is_of_what_determines_the_rows():
    model, other = clip(), clip()
    assert image_tower_hash(model) == image_tower_hash(other)
    other.logit_scale.data += 1
    assert image_tower_hash(model) == image_tower_hash(other)
    other.image_projection.weight.data[0, 0] += 1
    assert image_tower_hash(model) != image_tower_hash(other)
    gelu, quick = (
        CLIP(VisionTransformer(8, 8, 64, 1, 1, quick_gelu=quick), None, embed_dim=3) for quick in (False, True)
    )
    quick.load_state_dict(gelu.state_dict())
    assert image_tower_hash(gelu) != image_tower_hash(quick)
