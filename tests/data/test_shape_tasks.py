import hashlib
import itertools
from collections import Counter

import numpy as np
import pytest

from clip_lightning.data import ShapeScenes, ShapeScenesLabels, ShapeShifts, ShapeSwaps, ShapeTasks
from clip_lightning.data.shape_drawing import COLOURS, SHAPES
from clip_lightning.data.shape_grammar import HELD_OUT, SEEN, SYNONYMS
from clip_lightning.data.shape_parts import PARTS
from clip_lightning.spec import build, spec_of

TASKS = {
    "shape": (8, "accuracy"),
    "colour": (8, "mean_per_class_accuracy"),
    "size": (2, "roc_auc"),
    "objects": (8, "mean_average_precision_11_point"),
    "count": (5, "accuracy"),
    "word": (10, "accuracy"),
    "digit": (10, "accuracy"),
    "sentiment": (2, "accuracy"),
}
SHIFTS = ["plain", "resample", "outline", "invert", "rotate", "hard", "jitter", "noise", "lowres"]
FROM_HERE = ["probe_train", "tail_train", "couple_train", "count", "swap", "resample", "captions", "hard"]


def images(dataset, number):
    return np.stack([dataset.source.read(index).image for index in range(number)])


@pytest.mark.parametrize("task", TASKS)
def test_a_task_has_its_classes_sizes_and_metric(task):
    classes, metric = TASKS[task]
    labels = ShapeTasks(task)
    probed = task in ("shape", "colour", "size", "objects")
    assert (len(labels), labels.metric, labels.split) == (600 if probed else 250, metric, "test")
    assert len(labels.class_names) == classes
    found = labels.targets(np.arange(len(labels)))
    assert found.shape == ((600, 8) if task == "objects" else (len(labels),))
    assert set(np.unique(found)) == (set(range(2)) if task == "objects" else set(range(classes)))
    if probed:
        assert [len(ShapeTasks(task, split)) for split in ("train", "val", "test")] == [1_500, 300, 600]
    assert build(spec_of(labels)).source.fingerprint == labels.source.fingerprint


def test_the_answer_is_what_the_captions_say():
    named = {"shape": SHAPES, "colour": COLOURS}
    for task, words in named.items():
        labels = ShapeTasks(task)
        for index in range(200):
            said = {word for caption in labels.source.read(index).captions for word in caption.split()}
            name = labels.class_names[labels.target(index)][0]
            assert not said & set(words) or said & set(words) == {name}
    for task in ("word", "digit"):
        labels = ShapeTasks(task)
        name = [labels.class_names[labels.target(index)][0] for index in range(50)]
        assert all(one in labels.source.read(index).captions[0].split() for index, one in enumerate(name))


def test_the_tail_of_colours_is_long():
    labels = ShapeTasks("colour")
    counts = np.bincount(labels.targets(np.arange(600)), minlength=8)
    assert counts[0] > 10 * counts[7] > 0
    assert (np.sort(counts)[::-1] == counts).all()


def test_objects_are_those_of_both_halves():
    labels = ShapeTasks("objects", "val")
    for index in range(50):
        marks = labels.source.scene(index).picture.marks
        assert labels.target(index).tolist() == [int(shape in {mark.what for mark in marks}) for shape in SHAPES]


@pytest.mark.parametrize("split", FROM_HERE)
def test_held_out_pairs_are_in_no_part_but_their_own(split):
    source = ShapeScenes(split, size=300)
    meaning = {name: name for name in (*COLOURS, *SHAPES)} | {synonym: name for name, synonym in SYNONYMS.items()}
    meaning |= {word + ending: name for word, name in meaning.items() for ending in ("s", "es")}
    marks = {(mark.colour, mark.what) for i in range(300) for mark in source.scene(i).picture.marks}
    said = [word for caption in source.captions() for word in (*map(meaning.get, caption.split()), None)]
    assert (marks | set(itertools.pairwise(said))).isdisjoint(HELD_OUT)


def test_parts_do_not_share_scenes():
    first = {name: ShapeScenes(name, size=1).read(0).image.tobytes() for name in PARTS}
    assert len(set(first.values())) == len(PARTS)


def test_retrieval_has_texts_that_occur_twice():
    source = ShapeScenes("captions")
    captions = list(source.captions())
    assert (len(source), len(captions)) == (200, 1_000)
    several = [caption for caption in set(captions) if captions.count(caption) > 1]
    owners = [{place // 5 for place, one in enumerate(captions) if one == caption} for caption in several]
    assert sum(len(own) > 1 for own in owners) > 10, "captions that belong to several pictures"


@pytest.mark.parametrize("swap", ["order", "colour"])
def test_swapped_captions_say_something_else_of_the_same_words(swap):
    source = ShapeSwaps(swap)
    assert len(source) == 200
    pairs = {f"{colour} {shape}" for colour, shape in SEEN}
    for index in range(200):
        right, wrong = source.read(index).captions
        assert right != wrong
        assert sorted(right.replace("an ", "a ").split()) == sorted(wrong.replace("an ", "a ").split())
        first, second = source.scene(index).picture.marks
        assert right.index(f"{first.colour} {first.what}") < right.index(f"{second.colour} {second.what}")
        shown = {f"{mark.colour} {mark.what}" for mark in (first, second)}
        assert {pair in wrong for pair in shown} == {swap == "order"}
        assert sum(pair in wrong for pair in pairs) == 2, "no held-out pair in the wrong caption either"
    assert source.fingerprint != ShapeScenes("swap").fingerprint


@pytest.mark.parametrize("shift", SHIFTS)
def test_a_shift_has_its_pictures(shift):
    labels = ShapeShifts(shift, size=20)
    assert len(ShapeShifts(shift)) == 400
    assert [names[0] for names in labels.class_names] == list(SHAPES)
    again = ShapeShifts(shift, size=40)
    if shift != "hard":  # drawn in portions of the size
        assert np.array_equal(images(labels, 20), images(again, 20))
    assert labels.source.fingerprint != again.source.fingerprint


def test_shifts_keep_what_they_do_not_change():
    plain = images(ShapeShifts("plain", size=40), 40).astype(int)
    test = ShapeScenesLabels("test")
    assert np.array_equal(plain, images(test, 40))
    assert np.array_equal(images(ShapeShifts("invert", size=40), 40), 255 - plain)
    coarse = images(ShapeShifts("lowres", size=40), 40)
    assert np.array_equal(coarse[:, ::4, ::4].repeat(4, 1).repeat(4, 2), coarse)
    assert np.abs(coarse.mean(axis=(1, 2)) - plain.mean(axis=(1, 2))).max() < 1
    noise = images(ShapeShifts("noise", size=40), 40) - plain
    assert noise.std() > 3 * 6
    for shift in ("plain", "invert", "rotate", "outline", "noise", "lowres"):
        labels = ShapeShifts(shift, size=40)
        assert [SHAPES_IN_ORDER[labels.target(i)] for i in range(40)] == [test.groups(i)["shape"] for i in range(40)]


SHAPES_IN_ORDER = list(SHAPES)


def test_an_outline_has_less_ink_than_its_shape():
    """Where the background is white, what is not white is ink."""
    full, outline = ShapeShifts("plain", size=100), ShapeShifts("outline", size=100)
    ratios = {}
    for index, scene in enumerate(full.source.scenes):
        mark = scene.picture.marks[0]
        if scene.picture.background == "white" and scene.sizes[0] == "large":
            inks = [(255.0 - one.source.read(index).image).clip(40).mean() - 40 for one in (outline, full)]
            ratios[mark.what] = inks[0] / inks[1]
    assert len(ratios) >= 5
    assert all(0.05 < ratio < 0.95 for ratio in ratios.values())


def test_turned_shapes_have_any_angle():
    angles = [scene.picture.marks[0].angle for scene in ShapeShifts("rotate").source.scenes]
    assert min(angles) < -3
    assert max(angles) > 3


def test_a_clip_is_an_anchor_among_frames_like_it():
    labels = ShapeShifts("jitter", size=50)
    groups = [labels.groups(index) for index in range(50)]
    assert Counter(group["clip"] for group in groups) == {str(clip): 5 for clip in range(10)}
    assert [index % 5 for index, group in enumerate(groups) if group["anchor"] == "true"] == [2] * 10
    pictures = images(labels, 50).reshape(10, 5, -1).astype(int)
    assert np.array_equal(pictures[:, 2], images(ShapeShifts("plain", size=10), 10).reshape(10, -1))
    assert all(len({frame.tobytes() for frame in clip}) == 5 for clip in pictures)
    for index, scene in enumerate(labels.source.scenes):
        mark, anchor = scene.picture.marks[0], labels.source.scenes[index // 5 * 5 + 2].picture.marks[0]
        assert (mark.what, mark.colour, mark.radius) == (anchor.what, anchor.colour, anchor.radius)
        assert max(abs(mark.x - anchor.x), abs(mark.y - anchor.y)) <= 2


def test_pictures_are_the_published_ones():
    digest = hashlib.sha256()
    for task in TASKS:
        labels = ShapeTasks(task, size=8)
        digest.update(images(labels, 8).tobytes() + labels.targets(np.arange(8)).tobytes())
    for shift in SHIFTS:
        digest.update(images(ShapeShifts(shift, size=10), 10).tobytes())
    for swap in ("order", "colour"):
        digest.update(" ".join(ShapeSwaps(swap, size=20).captions()).encode())
    # Of another process, since this one cannot know it; a change of the scenes changes every published figure.
    assert digest.hexdigest() == "7174165049fe20056789eb54930bb4af2a3f2cc8ad353e9190cbb72ea4aa79fd"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ShapeTasks("weight"), "no task 'weight'; use one of shape, colour"),
        (lambda: ShapeTasks("shape", "heldout"), "no split 'heldout'; use one of train, val, test"),
        (lambda: ShapeTasks("count", "train"), "task 'count' has no split 'train', only 'test'"),
        (lambda: ShapeShifts("blur"), "no shift 'blur'; use one of plain"),
        (lambda: ShapeShifts("jitter", size=12), "of 'jitter' a multiple of 5"),
        (lambda: ShapeSwaps("size"), "no swap 'size'; use one of order, colour"),
        (lambda: ShapeScenesLabels("count"), "'count' has scenes without one colour and shape"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
