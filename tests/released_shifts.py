"""ImageNet, its shifts and the paper's extras in the layouts of their releases, as in ``released``."""

import json

import numpy as np
import open_clip
from PIL import Image
from released_sets import Made, make_video, picture, write

from clip_lightning.data.imagenet_folders import imagenet_ids

NAMES = list(open_clip.IMAGENET_CLASSNAMES)


def _folders(root, names):
    """One image in each folder, all of the same bytes."""
    picture(root / names[0] / "1.jpg")
    content = (root / names[0] / "1.jpg").read_bytes()
    for name in names[1:]:
        (root / name).mkdir()
        (root / name / "1.jpg").write_bytes(content)


def imagenet(root, patch):
    for split in ("train", "val"):
        _folders(root / "imagenet" / split, imagenet_ids("imagenet"))
    return Made(None, NAMES)


def imagenet_sketch(root, patch):
    _folders(root / "sketch", imagenet_ids("imagenet"))
    return Made(None, NAMES)


def imagenet_v2(root, patch):
    """Folders are numbers, which sort as texts: 0, 1, 10, 100, 101, ..."""
    folders = [str(number) for number in range(1_000)]
    _folders(root / "imagenetv2-matched-frequency-format-val", folders)
    return Made(None, [NAMES[int(folder)] for folder in sorted(folders)])


def imagenet_a(root, patch):
    _folders(root / "imagenet-a", imagenet_ids("imagenet_a"))
    return Made(None, [NAMES[imagenet_ids("imagenet").index(one)] for one in imagenet_ids("imagenet_a")])


def imagenet_r(root, patch):
    _folders(root / "imagenet-r", imagenet_ids("imagenet_r"))
    return Made(None, [NAMES[imagenet_ids("imagenet").index(one)] for one in imagenet_ids("imagenet_r")])


def objectnet(root, patch):
    """Two objects are classes of ImageNet, of which one is two; a third object is none."""
    data = root / "objectnet-1.0"
    for folder in ("alarm_clock", "banana", "tomato"):
        (data / "images" / folder).mkdir(parents=True)
        framed = np.full((9, 8, 3), (255, 0, 0), dtype=np.uint8)
        framed[2:-2, 2:-2] = 77
        Image.fromarray(framed).save(data / "images" / folder / "1.png")
    mappings = data / "mappings"
    labels = {"alarm_clock": "Alarm clock", "banana": "Banana", "tomato": "Tomato"}
    write(mappings / "folder_to_objectnet_label.json", json.dumps(labels))
    classes = {"Alarm clock": "analog clock; digital clock", "Banana": "banana"}
    write(mappings / "objectnet_to_imagenet_1k.json", json.dumps(classes))
    # Line in the next file of each of ImageNet's labels.
    write(mappings / "pytorch_to_imagenet_2012_id.json", json.dumps({"409": 2, "530": 0, "954": 1}))
    write(mappings / "imagenet_to_label_2012_v2", "digital clock\nbanana\nanalog clock\n")
    return Made(None, ["alarm clock", "banana"])


def imagenet_vid(root, patch):
    data = root / "imagenet-vid-robust"
    frames = [f"val/one/{number:06d}.JPEG" for number in range(3)] + ["val/two/000000.JPEG"]
    for frame in frames:
        picture(data / frame)
    labels = {frame: [1] if "one" in frame else [0, 1] for frame in frames}
    write(data / "metadata" / "labels.json", json.dumps(labels))
    near = {frames[1]: [frames[0], frames[2]], frames[3]: []}
    write(data / "metadata" / "pmsets.json", json.dumps(near))
    index = {"0": ["n02691156", "airplane"], "1": ["n02118333", "red_fox"]}
    write(data / "misc" / "imagenet_vid_class_index.json", json.dumps(index))
    members = {"n02691156": ["n02690373"], "n02118333": ["n02119022", "n02119789"]}
    write(data / "misc" / "rev_wnid_map.json", json.dumps(members))
    return Made(None, ["red fox"] * 3 + ["airplane"])


def youtube_bb(root, patch):
    """Of four anchors one is bad and one of a class without a name; of the frames one is not similar, one too far."""
    data, metadata = root / "ytbb-robust", root / "ytbb-robust_metadata"
    words = ["good", "bad", "dog", "zebra"]
    anchors = [("v1_100/frame-50.jpg", [0, 3]), ("v2_200/frame-9.jpg", [0]), ("v3_300/frame-9.jpg", [1])]
    anchors += [("v4_400/frame-9.jpg", [0])]
    rows = [{"key": f"/somewhere/{key}", "notes": "", "labels": labels} for key, labels in anchors]
    write(metadata / "anchor_labels.json", json.dumps({"annotations": rows, "labels": words}))
    frames = [("v1_100/frame-52.jpg", [0]), ("v1_100/frame-49.jpg", [0, 1]), ("v1_100/frame-70.jpg", [0])]
    rows = [{"key": f"/a/v1_100/frame-50.jpg,/b/{key}", "labels": labels} for key, labels in frames]
    write(metadata / "pmk_labels.json", json.dumps({"annotations": rows, "labels": ["similar", "occlusion-increased"]}))
    index = {"17": "zebra", "19": "dog", "22": "none", "23": "car"}
    write(metadata / "ytbb_class_index.json", json.dumps(index))
    write(metadata / "rev_class_idx_map.json", json.dumps({"17": [340], "19": [151, 152], "23": [436]}))
    first = "ytid,time_ms,label\nv1,100,19\nv2,200,22\nv3,300,19\nv4,400,23\n"
    write(metadata / "ytbb_robustness_test_anchors_full.csv", first)
    for key, _ in [*anchors, *frames]:
        picture(data / key)
    return Made(None, ["zebra", "zebra", "car"])


def iiit5k(root, patch):
    from scipy.io import savemat

    rows = [("test/1.png", "KITE", ["BOAT", "KITE"], ["BOAT", "KITE", "DOOR"])]
    rows += [("test/2.png", "DOOR", ["DOOR"], ["BOAT", "DOOR"])]
    kinds = [("ImgName", object), ("GroundTruth", object), ("smallLexi", object), ("mediumLexi", object)]
    table = np.empty((1, len(rows)), dtype=kinds)
    for index, (image, word, *lists) in enumerate(rows):
        table[0, index] = (image, word, *(np.array(one, dtype=object) for one in lists))
        picture(root / "IIIT5K" / image)
    savemat(root / "IIIT5K" / "testdata.mat", {"testdata": table})
    return Made(None, [])


def im2gps(root, patch):
    for name, places in {"test": ["48.8584,2.2945"], "gallery": ["48.8606,2.3376", "-33.8568,151.2153"]}.items():
        lines = [f"{name}{index}.jpg,{place}\n" for index, place in enumerate(places)]
        write(root / "im2gps" / f"{name}.csv", "image,latitude,longitude\n" + "".join(lines))
        for index in range(len(places)):
            picture(root / "im2gps" / f"{name}{index}.jpg")
    return Made(None, [])


def rareact(root, patch):
    header = "id,video_id,start,end,class_id,verb,noun,annotation\n"
    write(root / "rareact" / "rareact.csv", header + "0,abc,0,1,0,cut,laptop,1\n1,abc,0,1,0,cut,laptop,0\n")
    make_video(root / "rareact" / "videos" / "abc.mp4", 10)
    return Made(None, [])
