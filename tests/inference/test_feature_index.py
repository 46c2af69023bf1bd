"""The images nearest to a query, against a comparison with every one."""

from pathlib import Path

import numpy as np
import pytest

from clip_lightning.inference.feature_folder import Description, FeatureFolder
from clip_lightning.inference.search import FeatureIndex

pytest.importorskip("faiss")


class Named:
    """Names of images that nobody reads."""

    def file(self, index):
        return Path("/images") / self.key(index)

    def key(self, index):
        return f"{index}.png"


def write(path, values, part_size=100, missing=()):
    """A folder with given features; ``missing`` are indices that have none."""
    description = Description("c", "w", values.shape[1], ["i"], "f", len(values), part_size)
    folder = FeatureFolder.create(path, description)
    for part in folder.unfinished():
        indices = description.indices(part).tolist()
        rows = {index: values[index] for index in indices if index not in missing}
        folder.write_part(part, Named(), rows, {index: "torn" for index in indices if index in missing})
    return folder


def cosines(values, query):
    return values @ query / np.linalg.norm(values, axis=1) / np.linalg.norm(query)


def clustered(number, width=16, seed=0):
    """Features as models make them: in groups, of different lengths."""
    generator = np.random.default_rng(seed)
    centers = generator.normal(size=(20, width))
    rows = centers[generator.integers(20, size=number)] + 0.5 * generator.normal(size=(number, width))
    return (rows * generator.uniform(0.5, 20, size=(number, 1))).astype(np.float32)


def test_the_exact_index_is_the_comparison_with_every_image(tmp_path):
    values = clustered(257)
    missing = {0, 1, 100, 256, *range(120, 140)}
    index = FeatureIndex(write(tmp_path, values, missing=missing))
    assert index.is_exact
    there = np.array([place for place in range(257) if place not in missing])
    for query in clustered(5, seed=1):
        expected = cosines(values[there], query)
        order = there[np.argsort(-expected)][:7]
        hits = index.nearest(query, 7)
        assert [hit.index for hit in hits] == order.tolist()
        np.testing.assert_allclose([hit.similarity for hit in hits], np.sort(expected)[::-1][:7], atol=1e-6)
        assert [(hit.path, hit.key) for hit in hits] == [(f"/images/{place}.png", f"{place}.png") for place in order]


def test_no_more_are_found_than_there_are_and_equals_are_in_order(tmp_path):
    index = FeatureIndex(write(tmp_path, np.ones((5, 4), np.float32), part_size=2))
    hits = index.nearest(np.ones(4), 100)
    assert [hit.index for hit in hits] == [0, 1, 2, 3, 4]
    assert hits[0].similarity == pytest.approx(1)


def test_the_approximate_index_finds_nearly_all(tmp_path):
    values = clustered(3000)
    index = FeatureIndex(write(tmp_path, values, part_size=1000), exact_up_to=2999)
    assert not index.is_exact
    found = 0
    queries = clustered(30, seed=1)
    for query in queries:
        expected = np.argsort(-cosines(values, query))[:10]
        hits = index.nearest(query, 10)
        found += len({hit.index for hit in hits} & set(expected.tolist()))
        similarities = [hit.similarity for hit in hits]
        assert similarities == sorted(similarities, reverse=True)
        np.testing.assert_allclose(similarities, cosines(values, query)[[hit.index for hit in hits]], atol=1e-5)
    assert found >= 0.95 * 10 * len(queries)


def test_it_is_kept_and_built_anew_when_the_features_change(tmp_path):
    values = clustered(20)
    folder = write(tmp_path, values)
    assert FeatureIndex(folder).was_built
    assert not FeatureIndex(FeatureFolder.open(tmp_path)).was_built
    (tmp_path / "part-00000.parquet").unlink()
    with pytest.raises(ValueError, match="is not complete: 1 of its 1 parts"):
        FeatureIndex(folder)
    write(tmp_path, -values)
    index = FeatureIndex(folder)
    assert index.was_built
    assert index.nearest(-values[3], 1)[0].index == 3
    assert len(list(tmp_path.glob("search-*"))) == 1
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".part"]


def test_damaged_and_empty_features_are_told_of(tmp_path):
    empty = write(tmp_path / "empty", clustered(3), missing={0, 1, 2})
    with pytest.raises(ValueError, match="none of its 3 images"):
        FeatureIndex(empty)
    folder = write(tmp_path / "torn", clustered(3))
    index = FeatureIndex(folder)
    for suffix in (".parquet", ".safetensors"):
        path = folder.path / f"part-00000{suffix}"
        path.write_bytes(path.read_bytes()[:-5])
        with pytest.raises(ValueError, match=rf"part-00000{suffix} is damaged .* embed again"):
            index.nearest(np.ones(16)) if suffix == ".parquet" else FeatureIndex(folder)
