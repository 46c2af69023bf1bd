import os
import socket
from contextlib import closing

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing

from clip_lightning.data.base import Damaged, RawSample, Source
from clip_lightning.data.labelled import LabelledDataset
from clip_lightning.data.transforms import CenterCrop
from clip_lightning.inference.context import LiveContext
from clip_lightning.inference.features import image_features

CROP = CenterCrop(size=4)


class Grey(Source):
    """Image i has the grey level i; some are damaged."""

    def __init__(self, number, damaged=()):
        self.name, self._number, self._damaged = "grey", number, damaged

    fingerprint = property(lambda self: f"grey {self._number} {self._damaged}")
    block_sizes = property(lambda self: [self._number])

    def read(self, index):
        if index in self._damaged:
            raise Damaged("torn")
        return RawSample(np.full((4, 4, 3), index, np.uint8), ("grey",))

    def captions(self):
        return iter(["grey"] * self._number)


class Levels(LabelledDataset):
    """Dark or light, or any other rule."""

    def __init__(self, number=11, damaged=(), classes=2):
        self.name, self.split, self.source, self._classes = "levels", "test", Grey(number, damaged), classes
        self.class_names, self.templates = [[f"level {label}"] for label in range(classes)], ["a {}", "the {}"]

    def target(self, index):
        return index % self._classes


class Mean:
    """Features are the grey level and one; class c scores c times the level."""

    kind = "features"

    def __init__(self):
        self.encoded, self.prompts = [], None

    def encode(self, image):
        assert image.dtype == torch.uint8
        self.encoded += image[:, 0, 0, 0].tolist()
        level = image.float().mean(dim=(1, 2, 3))
        return torch.stack([level, torch.ones_like(level)], dim=1)

    def classes(self, prompts):
        self.prompts = prompts
        return lambda rows: rows[:, :1] * torch.arange(len(prompts))


@pytest.mark.parametrize("batch_size", [1, 4, 11, 100])
def test_rows_are_in_the_order_of_the_data_set(batch_size):
    features = image_features(Mean(), Levels(), CROP, batch_size)
    assert features.index.tolist() == list(range(11))
    np.testing.assert_allclose(features.values, np.stack([np.arange(11), np.ones(11)], axis=1))
    assert features.target.tolist() == [index % 2 for index in range(11)]
    assert features.missing == {}


@pytest.mark.parametrize("num_workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_damaged_images_are_missing_with_their_reason(num_workers):
    features = image_features(Mean(), Levels(damaged=(0, 1, 2, 3, 7)), CROP, batch_size=4, num_workers=num_workers)
    assert features.index.tolist() == [4, 5, 6, 8, 9, 10]
    assert features.values[:, 0].tolist() == [4, 5, 6, 8, 9, 10]
    assert features.missing == dict.fromkeys([0, 1, 2, 3, 7], "torn")


def test_a_data_set_without_a_readable_image_is_refused():
    with pytest.raises(ValueError, match=r"no image of 'levels' can be read: torn"):
        image_features(Mean(), Levels(3, damaged=(0, 1, 2)), CROP)


def test_labels_of_many_classes_are_rows():
    class Several(Levels):
        def target(self, index):
            return np.array([index % 2, 1])

    features = image_features(Mean(), Several(3), CROP)
    assert features.target.tolist() == [[0, 1], [1, 1], [0, 1]]


def free_port():
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def share(rank, world, port, folder):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo")
    distributed.init_process_group("gloo", rank=rank, world_size=world)
    torch.set_num_threads(1)
    for number in (11, 1):
        scorer = Mean()
        features = image_features(scorer, Levels(number, damaged=(8,)), CROP, batch_size=2)
        np.savez(
            folder / f"{number}_{rank}.npz",
            values=features.values,
            index=features.index,
            target=features.target,
            missing=list(features.missing),
            encoded=scorer.encoded,
        )
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_share_the_images_and_both_get_all(tmp_path):
    multiprocessing.spawn(share, args=(2, free_port(), tmp_path), nprocs=2)
    for number in (11, 1):
        alone = image_features(Mean(), Levels(number, damaged=(8,)), CROP, batch_size=2)
        ranks = [np.load(tmp_path / f"{number}_{rank}.npz") for rank in range(2)]
        for rank in ranks:
            for name in ("values", "index", "target"):
                np.testing.assert_array_equal(rank[name], getattr(alone, name))
            assert rank["missing"].tolist() == list(alone.missing)
        encoded = [level for rank in ranks for level in rank["encoded"].tolist()]
        assert sorted(encoded) == [level for level in range(number) if level != 8]


def test_a_round_encodes_images_once_for_all_who_ask():
    scorer = Mean()
    context = LiveContext(scorer, CROP, batch_size=4)
    dark_light, thirds = Levels(classes=2), Levels(classes=3)
    assert context.images(dark_light).target.tolist() == [index % 2 for index in range(11)]
    assert context.images(thirds).target.tolist() == [index % 3 for index in range(11)]
    context.class_scores(thirds, ["{}"])
    assert scorer.encoded == list(range(11))
    context.images(Levels(5))
    assert len(scorer.encoded) == 16


def test_class_scores_are_those_of_the_filled_templates():
    scorer = Mean()
    scores = LiveContext(scorer, CROP, batch_size=4).class_scores(Levels(classes=3, damaged=(2,)), ["a {}", "{}!"])
    assert scorer.prompts == [[f"a level {label}", f"level {label}!"] for label in range(3)]
    levels = [level for level in range(11) if level != 2]
    np.testing.assert_allclose(scores, np.outer(levels, [0, 1, 2]))
