import os
import socket
from contextlib import closing

import numpy as np
import pytest
import torch
from grey import Grey, Mean, clip, how
from torch import distributed, multiprocessing

from clip_lightning.data.labelled import LabelledDataset
from clip_lightning.inference.context import LiveContext
from clip_lightning.inference.feature_cache import FeatureCache
from clip_lightning.inference.features import image_features
from clip_lightning.models import CLIP


class Levels(LabelledDataset):
    """Dark or light, or any other rule."""

    def __init__(self, classes=2):
        self.name, self.split, self.source, self._classes = "levels", "test", Grey(11), classes
        self.class_names, self.templates = [[f"level {label}"] for label in range(classes)], ["a {}", "the {}"]

    def target(self, index):
        return index % self._classes


class Multiples:
    """Class c scores c times the level."""

    kind = "pooled"

    def __init__(self):
        self.prompts = None

    def classes(self, prompts):
        self.prompts = prompts
        return lambda rows: rows[:, :1] * torch.arange(len(prompts))


@pytest.fixture
def model():
    return clip()


@pytest.mark.parametrize("batch_size", [1, 4, 11, 100])
def test_rows_are_in_the_order_of_the_source(model, batch_size):
    features = image_features(how(model, batch_size), Grey(11)).at("pooled")
    assert features.index.tolist() == list(range(11))
    np.testing.assert_allclose(features.values, np.stack([np.arange(11), np.ones(11)], axis=1), rtol=1e-5, atol=1e-5)
    assert features.missing == {}


def test_rows_of_both_stages_are_of_one_pass(model):
    encoded = image_features(how(model), Grey(11))
    assert model.image_encoder.encoded == list(range(11))
    expected = encoded.at("pooled").values @ model.image_projection.weight.detach().numpy().T
    np.testing.assert_allclose(encoded.at("features").values, expected, rtol=1e-5, atol=1e-6)


def test_a_tower_with_its_projection_inside_has_one_kind_of_rows():
    encoded = image_features(how(CLIP(Mean(), None, image_projection=False)), Grey(3))
    assert encoded.at("features").values is encoded.at("pooled").values


@pytest.mark.parametrize("num_workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_damaged_images_are_missing_with_their_reason(model, num_workers):
    source = Grey(11, damaged=(0, 1, 2, 3, 7))
    features = image_features(how(model, num_workers=num_workers), source).at("pooled")
    assert features.index.tolist() == [4, 5, 6, 8, 9, 10]
    assert features.values[:, 0].round().tolist() == [4, 5, 6, 8, 9, 10]
    assert features.missing == dict.fromkeys([0, 1, 2, 3, 7], "torn")


def test_a_source_without_a_readable_image_is_refused(model):
    with pytest.raises(ValueError, match=r"no image of 'grey' can be read: torn"):
        image_features(how(model), Grey(3, damaged=(0, 1, 2)))


def free_port():
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def share(rank, world, port, folder):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo")
    distributed.init_process_group("gloo", rank=rank, world_size=world)
    torch.set_num_threads(1)
    for number in (11, 1):
        for kind in ("memory", "cache"):
            model, source = clip(), Grey(number, damaged=(8,))
            if kind == "memory":
                encoded = image_features(how(model, 2), source)
            else:
                encoded = FeatureCache(folder / "cache", "model", part_size=3).features(how(model, 2), source)
            np.savez(
                folder / f"{kind}_{number}_{rank}.npz",
                pooled=encoded.rows["pooled"],
                features=encoded.rows["features"],
                index=encoded.index,
                missing=list(encoded.missing),
                encoded=model.image_encoder.encoded,
            )
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_share_the_images_and_both_get_all(tmp_path):
    multiprocessing.spawn(share, args=(2, free_port(), tmp_path), nprocs=2)
    for kind in ("memory", "cache"):
        for number in (11, 1):
            alone = image_features(how(clip(), 2), Grey(number, damaged=(8,)))
            ranks = [np.load(tmp_path / f"{kind}_{number}_{rank}.npz") for rank in range(2)]
            for rank in ranks:
                for stage in ("pooled", "features"):
                    np.testing.assert_allclose(rank[stage], alone.rows[stage], rtol=1e-6)
                np.testing.assert_array_equal(rank["index"], alone.index)
                assert rank["missing"].tolist() == list(alone.missing)
            encoded = [level for rank in ranks for level in rank["encoded"].tolist()]
            assert sorted(encoded) == [level for level in range(number) if level != 8]


def test_a_round_encodes_images_once_for_all_who_ask(model):
    context = LiveContext(Multiples(), how(model))
    context.images(Grey(11))
    context.images(Grey(11), "pooled")
    context.class_scores(Grey(11), [["a"], ["b"]])
    assert model.image_encoder.encoded == list(range(11))
    context.images(Grey(5))
    assert len(model.image_encoder.encoded) == 16


def test_a_round_describes_the_same_classes_once(model):
    scorer = Multiples()
    context = LiveContext(scorer, how(model))
    first = context.class_scores(Grey(11), [["a"], ["b"]])
    scorer.prompts = "asked no more"
    np.testing.assert_array_equal(context.class_scores(Grey(5), [["a"], ["b"]]), first[:5])
    assert scorer.prompts == "asked no more"
    assert context.class_scores(Grey(5), [["a"], ["b"], ["c"]]).shape == (5, 3)


def test_class_scores_are_those_of_the_prompts(model):
    scorer, prompts = Multiples(), Levels(classes=3).prompts(["a {}", "{}!"])
    scores = LiveContext(scorer, how(model)).class_scores(Grey(11, damaged=(2,)), prompts)
    assert scorer.prompts == [[f"a level {label}", f"level {label}!"] for label in range(3)]
    levels = [level for level in range(11) if level != 2]
    np.testing.assert_allclose(scores, np.outer(levels, [0, 1, 2]), rtol=1e-5, atol=1e-4)
