import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clip_lightning.data import Damaged, RawSample, Source
from clip_lightning.data.features import Features
from clip_lightning.evaluation import Retrieval, places
from clip_lightning.evaluation.retrieval import Captioned, retrieve


class Pictures(Source):
    """Samples of one byte an image, and captions."""

    name, fingerprint = "pictures", "none"

    def __init__(self, *samples):
        self.samples = samples

    @property
    def block_sizes(self):
        return [len(self.samples)]

    def read(self, index):
        image, *captions = self.samples[index]
        if not image:
            raise Damaged("torn")
        return RawSample(image.encode(), tuple(captions))

    def captions(self):
        return (caption for _, *captions in self.samples for caption in captions)


class Embedded:
    """A context whose embeds are functions of an index and of a text."""

    def __init__(self, image, text):
        self.image, self.text, self.texts = image, text, None

    def images(self, source):
        index = np.array([place for place in range(len(source)) if source.samples[place][0]])
        missing = {place: "torn" for place in range(len(source)) if not source.samples[place][0]}
        return Features(np.array([self.image(place) for place in index], dtype=np.float32), index, missing)

    def text_embeds(self, texts):
        self.texts = texts
        return np.array([self.text(text) for text in texts], dtype=np.float32)


def evaluate(evaluator, context):
    results = evaluator.compute(evaluator.collect(context))
    assert [result.name for result in results] == evaluator.reports
    return {result.metric: result for result in results}


def unit(rng, *shape):
    rows = rng.normal(size=shape).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def noisy(images, captions, dim=16, seed=0):
    """Embeds of images and of several captions each that lie near them."""
    rng = np.random.default_rng(seed)
    image = unit(rng, images, dim)
    text = np.repeat(image, captions, axis=0) + 1.2 * unit(rng, images * captions, dim)
    owner = np.repeat(np.arange(images), captions)
    return image, text / np.linalg.norm(text, axis=1, keepdims=True), owner


def alone(owner):
    """No image and no caption repeats."""
    return Captioned(np.unique(owner), np.arange(len(owner)), owner)


@pytest.mark.parametrize("block_bytes", [2**27, 1])
def test_recall_is_that_of_clip_benchmark(monkeypatch, block_bytes):
    peer = pytest.importorskip("clip_benchmark.metrics.zeroshot_retrieval")
    monkeypatch.setattr(places, "_BLOCK_BYTES", block_bytes)
    image, text, owner = noisy(60, 5)
    captions_of_images, images_of_captions = retrieve(image, text, alone(owner))
    scores, positive = torch.from_numpy(text @ image.T), torch.from_numpy(owner[:, None] == np.arange(60))
    for k in (1, 5, 10):
        expected = peer.recall_at_k(scores, positive, k) > 0
        assert images_of_captions.credit(k).tolist() == expected.tolist()
        expected = peer.recall_at_k(scores.T, positive.T, k) > 0
        assert captions_of_images.credit(k).tolist() == expected.tolist()


def random_order(scores, right, k, rng):
    """Recall and rank of one query where equal scores are in a random order: the definition, in words of numpy."""
    order = rng.permutation(len(scores))
    order = order[np.argsort(-scores[order], kind="stable")]
    return right[order[:k]].any(), np.flatnonzero(right[order])[0] + 1


def test_ties_and_repeated_content_are_as_the_definition_has_them():
    rng = np.random.default_rng(1)
    image, text = (rng.integers(-1, 2, (count, 3)).astype(np.float32) for count in (7, 12))
    captioned = Captioned(np.array([5, 5, 9, 2, 3, 4, 9]), np.array([0, 1, 2, 3, 0, 4, 5, 6, 3, 7, 8, 9]),
                          np.array([0, 0, 1, 2, 3, 4, 5, 6, 3, 5, 4, 2]))  # fmt: skip
    content = captioned.image_id[captioned.image]
    right = np.array(
        [
            [any((content == image_id) & (captioned.text_id == text_id)) for text_id in captioned.text_id]
            for image_id in captioned.image_id
        ]
    )
    assert right.sum() > 12
    for found, scores, hits in zip(
        retrieve(image, text, captioned), (image @ text.T, text @ image.T), (right, right.T), strict=True
    ):
        for query in range(len(scores)):
            drawn = np.array([random_order(scores[query], hits[query], 3, rng) for _ in range(1500)])
            assert found.credit(3)[query] == pytest.approx(drawn[:, 0].mean(), abs=0.06)
            assert found.ranks()[query] == pytest.approx(drawn[:, 1].mean(), abs=0.3)


def test_a_collapsed_model_is_at_chance_and_an_oracle_always_right():
    source = Pictures(*((f"image {n}", *(f"{n} {m}" for m in range(3))) for n in range(20)))
    collapsed = evaluate(Retrieval(source), Embedded(lambda index: [1.0, 0.0], lambda text: [0.6, 0.8]))
    for k in (1, 5, 10):
        wrong = np.prod([(57 - guess) / (60 - guess) for guess in range(k)])
        assert collapsed[f"image_to_text_recall_at_{k}"].value == pytest.approx(1 - wrong)
        assert collapsed[f"text_to_image_recall_at_{k}"].value == pytest.approx(k / 20)
    assert collapsed["image_to_text_median_rank"].value == pytest.approx(61 / 4)
    assert collapsed["text_to_image_median_rank"].value == pytest.approx(21 / 2)
    oracle = evaluate(
        Retrieval(source), Embedded(lambda index: np.eye(20)[index], lambda text: np.eye(20)[int(text.split()[0])])
    )
    assert [result.value for result in oracle.values()] == [1.0] * 8
    assert all(result.interval[0] < 1 for result in oracle.values() if "recall" in result.metric)


def test_random_embeds_are_at_chance():
    rng = np.random.default_rng(0)
    source = Pictures(*((f"image {n}", *(f"{n} {m}" for m in range(2))) for n in range(300)))
    results = evaluate(Retrieval(source), Embedded(lambda index: unit(rng, 8), lambda text: unit(rng, 8)))
    for k in (1, 5, 10):
        low, high = results[f"text_to_image_recall_at_{k}"].interval
        assert low < k / 300 < high
    low, high = results["text_to_image_median_rank"].interval
    assert low < 150.5 < high


def test_what_is_equal_is_right_together():
    """Both images of a content are right for each other's captions, and a caption of two images for both."""
    source = Pictures(("a", "dog"), ("b", "cat"), ("a", "hound"), ("c", "dog"))
    image = np.eye(4)[[3, 1, 3, 2]]
    text = {"dog": [0, 0, 0.8, 0.6], "cat": np.eye(4)[1], "hound": np.eye(4)[3]}
    results = evaluate(Retrieval(source), Embedded(image.__getitem__, text.__getitem__))
    assert results["image_to_text_recall_at_1"].items.tolist() == [1, 1, 1, 1]
    assert results["text_to_image_recall_at_1"].items.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(("side", "recalls"), [("image", ([0, 1, 1], [0, 0, 0])), ("text", ([0, 0, 0], [0, 1, 1]))])
def test_nan_is_never_right_and_always_in_the_way(side, recalls):
    rows, broken = np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)
    broken[0] = np.nan
    embeds = {"image": rows, "text": rows, side: broken}
    found = retrieve(embeds["image"], embeds["text"], alone(np.arange(3)))
    assert [direction.credit(1).tolist() for direction in found] == list(recalls)
    # As the query it finds nothing, not even last; as an item it takes the first place from the others.
    for direction in found:
        assert direction.ranks().tolist() in ([4, 1, 1], [4, 2, 2])


def test_the_first_captions_of_an_image_and_the_prefix():
    source = Pictures(("a", "one", "two", "three"), ("b", "four"))
    context = Embedded(lambda index: np.eye(2)[index], lambda text: np.eye(2)[int("four" in text)])
    results = evaluate(Retrieval(source, captions_per_image=2, prefix="a photo of"), context)
    assert context.texts == ["a photo of one", "a photo of two", "a photo of four"]
    result = results["text_to_image_recall_at_1"]
    assert result.n == 3
    assert result.protocol["captions_per_image"] == 2
    assert result.protocol["text_prefix"] == "a photo of"
    assert (result.protocol["images"], result.protocol["captions"]) == (2, 3)


def test_damaged_images_and_their_captions_are_missing():
    source = Pictures(("a", "one"), ("", "two"), ("c", "three"))
    results = evaluate(Retrieval(source), Embedded(lambda index: np.eye(3)[index], lambda text: [1, 0, 0]))
    for result in results.values():
        assert (result.n, result.missing, result.source) == (2, 1, "pictures")


def test_what_cannot_be_measured_is_said():
    with pytest.raises(ValueError, match="captions_per_image 0 leaves none"):
        Retrieval(Pictures(("a", "one")), captions_per_image=0)
    with pytest.raises(ValueError, match="pictures, sample 1 has no caption"):
        evaluate(Retrieval(Pictures(("a", "one"), ("b",))), Embedded(lambda index: [1.0], lambda text: [1.0]))


def test_images_are_compared_by_their_angle():
    source = Pictures(("a", "one"), ("b", "two"))
    image = np.array([[1.0, 0.0], [60.0, 80.0]])
    results = evaluate(Retrieval(source), Embedded(image.__getitem__, {"one": [1, 0], "two": [0.6, 0.8]}.__getitem__))
    assert results["text_to_image_recall_at_1"].value == 1.0


def test_recall_of_features_that_torch_ranks():
    image, text, owner = noisy(40, 2, seed=3)
    similar = F.cosine_similarity(torch.from_numpy(text)[:, None], torch.from_numpy(image)[None], dim=-1).numpy()
    ranks = 1 + (similar > similar[np.arange(80), owner][:, None]).sum(axis=1)
    np.testing.assert_array_equal(retrieve(image, text, alone(owner))[1].ranks(), ranks)
