import hashlib
import itertools
import pickle
from collections import Counter

import numpy as np
import pytest

from clip_lightning.data.shape_drawing import BACKGROUNDS, COLOURS, SHAPES, SIDE, Mark, Picture, bitmap, draw
from clip_lightning.data.shape_grammar import DIGITS, HELD_OUT, PAIRS, SEEN, SYNONYMS, WORDS, captions_of, compose
from clip_lightning.data.shape_scenes import ShapeScenes, ShapeScenesLabels
from clip_lightning.spec import build, spec_of


def test_a_scene_depends_on_its_seed_split_and_index_only():
    backwards, alone = ShapeScenes(size=130), ShapeScenes(size=200)
    for index in (129, 64, 3):
        first, second = backwards.read(index), alone.read(index)
        assert np.array_equal(first.image, second.image)
        assert first.captions == second.captions
    others = [ShapeScenes(seed=1), ShapeScenes("val"), ShapeScenes("heldout")]
    pictures = [source.read(3).image.tobytes() for source in (alone, *others)] + [alone.read(4).image.tobytes()]
    assert len(set(pictures)) == len(pictures)


def test_pictures_and_captions_are_the_published_ones():
    digest = hashlib.sha256()
    for split in ("train", "val", "test", "heldout"):
        source = ShapeScenes(split, size=48)
        for index in range(48):
            sample = source.read(index)
            assert isinstance(sample.image, np.ndarray)
            digest.update(sample.image.tobytes() + "\n".join(sample.captions).encode())
    # A change of scenes changes every published figure: raise _VERSION in shape_scenes.py together with this.
    assert digest.hexdigest() == "6ac7a4b0b138ed48e3ea86cb56b9405bffa4b3134cb136e0d6ff9f4c01c97033"


def test_a_read_picture_is_the_readers_own():
    source = ShapeScenes(size=1)
    source.read(0).image.fill(0)
    assert source.read(0).image.any()


def test_each_colour_and_each_shape_lacks_two_partners():
    assert len(PAIRS) == 64
    assert len(HELD_OUT) == 16
    for position, names in ((0, COLOURS), (1, SHAPES)):
        assert Counter(pair[position] for pair in HELD_OUT) == dict.fromkeys(names, 2)
    assert set(SEEN) | set(HELD_OUT) == set(PAIRS)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_held_out_pairs_are_in_no_picture_and_no_caption(split):
    meaning = {name: name for name in (*COLOURS, *SHAPES)} | {synonym: name for name, synonym in SYNONYMS.items()}
    meaning |= {word + ending: name for word, name in meaning.items() for ending in ("s", "es")}
    source, seen = ShapeScenes(split, size=1_000), set()
    for index in range(1_000):
        marks = source.scene(index).picture.marks
        seen |= {(mark.colour, mark.what) for mark in marks if mark.what in SHAPES}
    for caption in source.captions():
        words = [meaning.get(word) for word in caption.split()]
        seen |= set(itertools.pairwise(words)) & set(PAIRS)
    assert seen == set(SEEN)


def test_held_out_split_shows_all_held_out_pairs_and_no_other():
    source = ShapeScenes("heldout")
    marks = [source.scene(index).picture.marks[0] for index in range(len(source))]
    assert {(mark.colour, mark.what) for mark in marks} == set(HELD_OUT)


def test_kinds_of_scenes_come_in_their_shares():
    source, kinds = ShapeScenes(size=4_000), Counter()
    for index in range(4_000):
        scene = source.scene(index)
        marks = scene.picture.marks
        if scene.relation:
            kinds["relation"] += 1
        elif marks[0].what in (*WORDS, *DIGITS):
            kinds["text"] += 1
        else:
            kinds[len(marks)] += 1
    # Four standard errors of a share of 4,000.
    expected = {"relation": 0.10, "text": 0.15, 1: 0.63, 2: 0.03, 3: 0.03, 4: 0.03, 5: 0.03}
    for kind, share in expected.items():
        assert abs(kinds[kind] / 4_000 - share) < 4 * np.sqrt(share * (1 - share) / 4_000), kind


def test_captions_leave_out_and_replace_in_their_shares():
    captions = [caption for index in range(2_000) for caption in captions_of(compose("val", index))]
    said = Counter()
    for caption in captions:
        words = set(caption.split())
        said["colour"] += bool(words & set(COLOURS))
        said["shape"] += bool(words & set(SHAPES))
        said["nothing"] += "shape" in words
    assert said["colour"] / len(captions) == pytest.approx(0.8 * 0.95, abs=0.02)
    assert said["shape"] / len(captions) == pytest.approx(0.9 * 0.95, abs=0.02)
    assert said["nothing"] / len(captions) == pytest.approx(0.1, abs=0.02)


def test_captions_agree_with_the_marks():
    source = ShapeScenes(size=1_500)
    numbers = {"two": 2, "three": 3, "four": 4, "five": 5}
    for index in range(len(source)):
        scene = source.scene(index)
        for caption in captions_of(scene):
            for word, number in numbers.items():
                assert word not in caption.split() or len(scene.picture.marks) == number
            for background in BACKGROUNDS:
                assert f"{background} background" not in caption or scene.picture.background == background
            assert not scene.relation or f" {scene.relation} " in caption


def test_captions_bring_a_tokeniser_what_is_hard():
    captions = list(ShapeScenes().captions())
    assert len(captions) == 5 * 16_384
    assert any(not caption.isascii() for caption in captions)
    assert 0 < sum(len(caption.split()) > 40 for caption in captions) < 60


def test_relations_hold():
    for index in range(1_500):
        scene = compose("train", index)
        if scene.relation:
            first, second = scene.picture.marks
            assert first.x < second.x if scene.relation == "left of" else first.y < second.y
            assert (first.colour, first.what) != (second.colour, second.what)


def test_shapes_do_not_leave_the_picture_or_overlap():
    for index in range(1_500):
        marks = compose("train", index).picture.marks
        for mark in marks:
            if mark.what in SHAPES:
                assert 1.1 * mark.radius <= min(mark.x, mark.y, SIDE - mark.x, SIDE - mark.y) + 1e-9
        for one, other in itertools.combinations(marks, 2):
            assert max(abs(one.x - other.x), abs(one.y - other.y)) >= 1.1 * (one.radius + other.radius) - 1e-9


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("angle", [0.0, 0.3])
def test_shapes_stay_within_their_reach_and_keep_their_area(shape, angle):
    mark = Mark(shape, "red", 16, 16, 10, angle, 1)
    picture = draw([Picture("white", (mark,), (0, 0, 0, 2))], noise=0)[0]
    down, across = np.nonzero((picture != 235).any(-1))
    assert np.hypot(down + 0.5 - 16, across + 0.5 - 16).max() <= 11.5
    upright = draw([Picture("white", (Mark(shape, "red", 16, 16, 10, 0, 1),), (0, 0, 0, 2))], noise=0)[0]
    area, expected = (235.0 - picture[..., 1]).sum(), (235.0 - upright[..., 1]).sum()
    assert area == pytest.approx(expected, rel=0.06)


def test_a_large_square_is_its_colour_inside_and_background_outside():
    picture = draw([Picture("black", (Mark("square", "cyan", 16, 16, 10, 0, 1),), (0, 0, 0, 2))], noise=0)[0]
    assert (picture[10:22, 10:22] == COLOURS["cyan"]).all()
    assert (picture[:8] == 25).all()
    assert (picture[:, 25:] == 25).all()


def test_noise_has_its_deviation():
    plain, noisy = (draw([Picture("gray", (), (0, 0, i, 2)) for i in range(20)], noise) for noise in (0, 6))
    difference = noisy.astype(float) - plain
    assert difference.mean() == pytest.approx(0, abs=0.1)
    assert difference.std() == pytest.approx(np.sqrt(36 + 1 / 12), rel=0.02)


def test_a_text_is_drawn_as_its_bitmap():
    expected = np.array(
        [
            [0, 1, 1, 1, 0],
            [1, 0, 0, 0, 1],
            [1, 0, 0, 0, 1],
            [1, 1, 1, 1, 1],
            [1, 0, 0, 0, 1],
            [1, 0, 0, 0, 1],
            [1, 0, 0, 0, 1],
        ]
    )
    assert np.array_equal(bitmap("a"), expected)
    assert bitmap("cat").shape == (7, 17)
    mark = Mark("a", "blue", 12.5, 14.5, 2.5, 0, 1)
    picture = draw([Picture("white", (mark,), (0, 0, 0, 2))], noise=0)[0]
    assert np.array_equal((picture != 235).any(-1)[11:18, 10:15], expected.astype(bool))


def test_sizes_names_and_fingerprints():
    sources = [ShapeScenes(split) for split in ("train", "val", "test", "heldout")]
    assert [len(source) for source in sources] == [16_384, 512, 1_000, 400]
    assert [source.name for source in sources] == ["shape_scenes"] * 3 + ["shape_scenes_heldout"]
    variants = [*sources, ShapeScenes(size=7), ShapeScenes(seed=1)]
    assert len({source.fingerprint for source in variants}) == 6
    assert ShapeScenes().fingerprint == sources[0].fingerprint


@pytest.mark.parametrize(("split", "name"), [("test", "shape_scenes"), ("heldout", "shape_scenes_heldout")])
def test_labels_are_the_factors_of_their_scene(split, name):
    labels = ShapeScenesLabels(split)
    assert (labels.name, labels.split, len(labels)) == (name, split, len(ShapeScenes(split)))
    assert labels.class_names == [[f"{colour} {shape}"] for colour in COLOURS for shape in SHAPES]
    assert len({names[0] for names in labels.class_names}) == 64
    allowed = {" ".join(pair) for pair in (HELD_OUT if split == "heldout" else SEEN)}
    found = set()
    for index in range(len(labels)):
        groups, target = labels.groups(index), labels.target(index)
        assert labels.class_names[target] == [f"{groups['colour']} {groups['shape']}"]
        found.add(labels.class_names[target][0])
    assert found == allowed


def test_label_says_what_the_picture_shows():
    labels = ShapeScenesLabels("test")
    for index in range(40):
        mark = labels.source.scene(index).picture.marks[0]
        quiet = draw([labels.source.scene(index).picture], noise=0)[0]
        colour = labels.class_names[labels.target(index)][0].split()[0]
        expected = np.clip(np.multiply(COLOURS[colour], mark.brightness), 0, 255)
        assert np.abs(quiet - expected).max(-1).min() <= 1


def test_default_templates_are_of_the_caption_grammar():
    labels = ShapeScenesLabels("val", size=3)
    assert all(template.count("{}") == 1 for template in labels.templates)
    captions = set(ShapeScenes("val", size=512).captions())
    assert all(any(template.format(" ".join(pair)) in captions for pair in SEEN) for template in labels.templates)
    assert ShapeScenesLabels("val", templates=["my {}"]).templates == ["my {}"]


def test_sources_survive_pickling_and_their_specification():
    source = ShapeScenes("val", size=3)
    expected = source.read(2)
    for copy in (
        pickle.loads(pickle.dumps(source)),
        build(spec_of(source)),
        build(spec_of(ShapeScenesLabels("val"))).source,
    ):
        assert np.array_equal(copy.read(2).image, expected.image)
        assert copy.read(2).captions == expected.captions


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="no split 'probe'"):
        ShapeScenes("probe")
    with pytest.raises(ValueError, match="size 0"):
        ShapeScenes(size=0)
    with pytest.raises(ValueError, match="'train'"):
        ShapeScenesLabels("train")
    with pytest.raises(IndexError):
        ShapeScenes(size=3).read(3)
