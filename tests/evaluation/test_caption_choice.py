import numpy as np
import pytest

from clip_lightning.data import Damaged, RawSample, ShapeSwaps, Source
from clip_lightning.data.features import Features
from clip_lightning.evaluation import CaptionChoice


class Listed(Source):
    """Samples with given captions and no pictures."""

    name = "toy"
    fingerprint = "toy"

    def __init__(self, captions):
        self._captions = captions

    block_sizes = property(lambda self: [len(self._captions)])

    def read(self, index):
        if self._captions[index] is None:
            raise Damaged("torn")
        return RawSample(np.zeros((1, 1, 3), np.uint8), self._captions[index])

    def captions(self):
        return (text for own in self._captions for text in own)


class Embedding:
    """A context in which texts and images are rows that the test made; damaged images are missing."""

    def __init__(self, images, texts):
        self._images, self._texts = images, texts
        self.asked = []

    def images(self, source, stage="features"):
        there = [index for index, row in enumerate(self._images) if row is not None]
        values = np.array([self._images[index] for index in there], dtype=np.float32)
        missing = {index: "torn" for index, row in enumerate(self._images) if row is None}
        return Features(values, np.array(there), missing)

    def text_embeds(self, texts):
        self.asked += texts
        return np.array([self._texts(text) for text in texts], dtype=np.float32)


def accuracy(images, captions, texts):
    evaluator = CaptionChoice(Listed(captions))
    [result] = evaluator.compute(evaluator.collect(Embedding(images, texts)))
    return result


def test_the_first_caption_is_right():
    texts = {"a": (1, 0), "b": (0, 1), "c": (0.6, 0.8)}.__getitem__
    result = accuracy([(1, 0), (0, 9), (1, 0), None], [("a", "b"), ("a", "b"), ("c", "b", "b"), None], texts)
    assert result.items.tolist() == [1, 0, 1]
    assert result.value == pytest.approx(2 / 3)
    assert (result.name, result.n, result.missing) == ("caption_choice/toy/accuracy", 3, 1)
    assert result.interval[0] < result.value < result.interval[1]


def test_a_collapsed_model_gets_chance():
    captions = [("a", "b"), ("a", "b", "c", "d")]
    result = accuracy([(1, 0), (0, 1)], captions, lambda text: (0.8, 0.6))
    assert result.items.tolist() == [1 / 2, 1 / 4]
    assert result.value == result.protocol["chance"] == pytest.approx(3 / 8)


def test_each_text_is_embedded_once():
    context = Embedding([(1, 0)] * 3, lambda text: (1, 0))
    CaptionChoice(Listed([("a", "b"), ("b", "a"), ("a", "c")])).collect(context)
    assert context.asked == ["a", "b", "c"]


def test_an_oracle_tells_what_is_left_of_what():
    source = ShapeSwaps("order", size=30)
    captions = [source.read(index).captions for index in range(30)]
    words = {text: row for row, text in enumerate(sorted({text for own in captions for text in own}))}
    one_hot = np.eye(len(words), dtype=np.float32)
    evaluator = CaptionChoice(source)
    context = Embedding([one_hot[words[right]] for right, _ in captions], lambda text: one_hot[words[text]])
    [result] = evaluator.compute(evaluator.collect(context))
    assert result.value == 1


def test_one_caption_leaves_no_choice():
    with pytest.raises(ValueError, match="toy, sample 0 has 1 captions; give two"):
        accuracy([(1, 0)], [("a",)], lambda text: (1, 0))
