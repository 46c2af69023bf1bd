"""What a configuration alone does not show of the sets that are read by code of ours."""

import json

import numpy as np
import pytest
import released_sets
import released_shifts
from released_sets import folders, picture, write

from clip_lightning.data import (
    IIIT5K,
    ClevrCounts,
    Damaged,
    ImageNetFolders,
    KittiDistance,
    ObjectNet,
    TorchvisionLabels,
    VideoFolders,
    VocLabels,
    WebdatasetLabels,
    YouTubeBB,
    decode,
)
from clip_lightning.evaluation import ZeroShot

DISTANCES = ["beside", "near", "far", "none"]


def kitti(path, objects):
    """Labels of one image, an object a line: its kind and its distance along the camera's axis."""
    lines = [f"{kind} 0 0 0 1 2 3 4 1.5 1.6 4 2 1.7 {depth} 0\n" for kind, depth in objects]
    write(path, "".join(lines))


@pytest.mark.parametrize(
    ("objects", "name"),
    [
        ([("Car", 7.9), ("Truck", 30)], "beside"),
        ([("Van", 8.0)], "beside"),
        ([("Pedestrian", 3), ("Car", 8.1)], "near"),
        ([("Car", 20.1), ("Car", 50)], "far"),
        ([("Tram", 5), ("DontCare", -1000)], "none"),
        ([], "none"),
    ],
)
def test_the_nearest_vehicle_decides(objects, name, tmp_path):
    kitti(tmp_path / "label_2" / "000007.txt", objects)
    picture(tmp_path / "image_2" / "000007.png")
    found = KittiDistance(tmp_path, DISTANCES, ["{}"])
    assert found.class_names[found.target(0)] == [name]
    assert found.source.place(0).endswith("image_2/000007.png")


def test_kitti_takes_the_images_of_a_list(tmp_path):
    for number, depth in (("000001", 5), ("000002", 15), ("000003", 25)):
        kitti(tmp_path / "label_2" / f"{number}.txt", [("Car", depth)])
    write(tmp_path / "test.txt", "000003\n000001\n")
    found = KittiDistance(tmp_path, DISTANCES, ["{}"], images=tmp_path / "test.txt")
    assert [found.target(index) for index in range(len(found))] == [2, 0]
    write(tmp_path / "label_2" / "000004.txt", "Car 0 0\n")
    with pytest.raises(ValueError, match=r"000004.txt has a vehicle without a distance in column 14"):
        KittiDistance(tmp_path, DISTANCES, ["{}"])


def test_the_border_of_objectnet_is_cropped_and_finer_names_are_pooled(tmp_path, monkeypatch):
    released_shifts.objectnet(tmp_path, monkeypatch)
    with pytest.warns(UserWarning, match="objectnet has 2 samples, but 18,574 are published"):
        own = ObjectNet(tmp_path / "objectnet-1.0")
    assert set(np.unique(decode(own.source.read(0).image))) == {77}
    assert decode(own.source.read(0).image).shape == (3, 5, 4)
    with pytest.warns(UserWarning, match="are published"):
        pooled = ObjectNet(tmp_path / "objectnet-1.0", names="imagenet")
    assert pooled.class_names == [["analog clock"], ["digital clock"], ["banana"]]
    assert pooled.pooled == [0, 0, 1]
    assert own.source.fingerprint == pooled.source.fingerprint


def test_frames_of_a_clip_know_it(tmp_path, monkeypatch):
    released_shifts.youtube_bb(tmp_path, monkeypatch)
    found = YouTubeBB(tmp_path / "ytbb-robust", tmp_path / "ytbb-robust_metadata")
    assert [found.groups(index)["anchor"] for index in range(3)] == ["true", "false", "true"]
    assert len({found.groups(index)["clip"] for index in range(3)}) == 2
    assert [list(found.accepted(index)) for index in range(3)] == [[0, 1], [0, 1], [2]], "zebra and dog; car"
    assert found.class_names == [["zebra"], ["dog"], ["car"]], "never none"
    finer = YouTubeBB(tmp_path / "ytbb-robust", tmp_path / "ytbb-robust_metadata", names="imagenet")
    assert finer.pooled == [0, 1, 1, 2]


def test_difficult_objects_do_not_count(tmp_path, monkeypatch):
    released_sets.voc2007(tmp_path, monkeypatch)
    with pytest.warns(UserWarning, match="voc2007 has 1 samples, but 4,952 are published"):
        found = VocLabels(tmp_path / "VOCdevkit" / "VOC2007")
    names = [found.class_names[label][0] for label in np.flatnonzero(found.target(0))]
    assert names == ["dog", "pottedplant"], "one dog is difficult, and the only person"
    assert found.metric == "mean_average_precision_11_point"


@pytest.mark.parametrize(
    "names", [["10", *"3456789"], ["three", "four", "five", "six", "seven", "eight", "nine", "ten"]]
)
def test_counts_are_told_by_their_names(names, tmp_path, monkeypatch):
    """CLIP's authors have them sorted as texts, clip_benchmark as numbers."""
    released_sets.clevr_counts(tmp_path, monkeypatch)
    found = ClevrCounts(tmp_path / "clevr" / "CLEVR_v1.0", names, ["a photo of {} objects."])
    assert found.class_names[found.target(0)][0] in ("10", "ten")
    assert found.class_names[found.target(1)][0] in ("3", "three")


def test_the_order_of_fer2013_is_checked_where_it_is_evaluated(tmp_path, monkeypatch):
    """clip_benchmark's list is alphabetical, but label 4 of the table is sad."""
    from torchvision.datasets import FER2013

    released_sets.fer2013(tmp_path, monkeypatch)
    names = ["angry", "disgusted", "fearful", "happy", "neutral", "sad", "surprised"]
    labels = TorchvisionLabels(FER2013(tmp_path, "test"), ["a {} face"], names, known_names={4: "sad"})
    with pytest.raises(ValueError, match=r"label 4 of 'fer2013' is known to be 'sad', .*\['neutral'\] there"):
        ZeroShot(labels)


def test_labels_from_one_are_refused(tmp_path):
    """As Flowers102 and SVHN are released; torchvision counts them from 0."""
    from torchvision.datasets import FakeData

    flowers = FakeData(4, (3, 2, 2), 3)
    flowers.targets = [1, 2, 3, 3]
    with pytest.raises(ValueError, match="labels from 1 to 3, but there are 3 class names"):
        TorchvisionLabels(flowers, ["a {}"], ["rose", "lily", "iris"])


def test_shards_keep_their_labels_and_names(tmp_path):
    made = released_sets.shards(tmp_path / "wds_vtab-toy", ["cat", "dog"], [1, 0, 1, 1, 0], ["a {c}.", "the {c}"])
    found = WebdatasetLabels(tmp_path / "wds_vtab-toy", split="train", known_names={0: "cat"})
    assert found.known_names == {0: "cat"}
    assert [found.class_names[found.target(index)][0] for index in range(5)] == made.expected
    assert (found.name, found.split, found.templates) == ("toy", "train", ["a {}.", "the {}"])
    assert decode(found.source.read(3).image).shape == (3, 4, 5)


def test_mistakes_in_shards_are_named(tmp_path):
    folder = tmp_path / "wds_toy"
    with pytest.raises(ValueError, match=r"test has no nshards\.txt"):
        WebdatasetLabels(folder)
    released_sets.shards(folder, ["cat", "dog"], [0, 1])
    write(folder / "classnames.txt", "cat\n")
    with pytest.raises(ValueError, match="labels from 0 to 1, but there are 1 class names"):
        WebdatasetLabels(folder)
    write(folder / "dataset_type.txt", "multilabel\n")
    with pytest.raises(ValueError, match=r"is of the type 'multilabel'; only sets with one label a sample are read$"):
        WebdatasetLabels(folder)
    write(folder / "dataset_type.txt", "retrieval\n")
    with pytest.raises(ValueError, match=r"take Shards with path .*/test/\*.tar and caption_on_each_line"):
        WebdatasetLabels(folder)


def test_folders_of_imagenet_are_checked(tmp_path):
    with pytest.raises(ValueError, match=r"cannot read the folder .*nowhere"):
        ImageNetFolders(tmp_path / "nowhere")
    folders(tmp_path, ["n01498041", "cats"])
    with pytest.raises(ValueError, match=r"a folder for each of 200 classes; missing are 199 .*, and 1 .*\(cats\)"):
        ImageNetFolders(tmp_path, subset="imagenet_a")


def test_the_frame_is_that_in_the_middle(tmp_path):
    """Ten frames of rising brightness, at 10 a second: the middle of the first half is the frame at 0.3 s."""
    pytest.importorskip("av")
    from clip_lightning.data.middle_frames import MiddleFrames, Section

    released_sets.make_video(tmp_path / "a.mp4", 10)
    sections = [Section("a.mp4"), Section("a.mp4", 0, 0.5), Section("a.mp4", 0.7, 0.9), Section("b.mp4")]
    frames = MiddleFrames(tmp_path, sections, "toy")
    levels = [frames.read(index).image.mean() for index in range(3)]
    assert [round((level - 10) / 20) for level in levels] == [5, 3, 8]
    with pytest.raises(Damaged, match="video file is missing"):
        frames.read(3)
    (tmp_path / "b.mp4").write_bytes(b"no video")
    with pytest.raises(Damaged, match="video cannot be read"):
        frames.read(3)


def test_listed_videos_need_the_folder_of_their_class(tmp_path):
    pytest.importorskip("av")
    folders(tmp_path / "videos", ["YoYo"])
    with pytest.raises(ValueError, match=r"has no videos in the folders of classes \(YoYo\)"):
        VideoFolders(tmp_path / "videos", ["Yo Yo"], ["{}"])
    write(tmp_path / "list.txt", "Archery/a.avi 1\n")
    with pytest.raises(ValueError, match=r"classes that have no folder in .* \(Archery/a.avi\)"):
        VideoFolders(tmp_path / "videos", ["Yo Yo"], ["{}"], videos=tmp_path / "list.txt")


def test_a_word_stands_before_the_others_of_its_list(tmp_path, monkeypatch):
    released_shifts.iiit5k(tmp_path, monkeypatch)
    found = IIIT5K(tmp_path / "IIIT5K", template="a sign: {}")
    assert found.read(0).captions == ("a sign: KITE", "a sign: BOAT", "a sign: DOOR")
    assert IIIT5K(tmp_path / "IIIT5K", lexicon="small").read(0).captions == ("KITE", "BOAT")
    assert len(list(found.captions())) == 5


def test_a_damaged_release_is_named(tmp_path):
    write(tmp_path / "scenes" / "CLEVR_val_scenes.json", json.dumps({"scenes": [{"image_filename": "a.png"}]}))
    with pytest.raises(ValueError, match=r"CLEVR_val_scenes.json is not as CLEVR releases it"):
        ClevrCounts(tmp_path, [*"3456789", "10"], ["{}"])
    write(tmp_path / "mappings" / "folder_to_objectnet_label.json", "{")
    with pytest.raises(ValueError, match="is no JSON object; unpack the release again"):
        ObjectNet(tmp_path)
