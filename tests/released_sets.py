"""The paper's data sets in the layouts of their releases, with a few tiny pictures each.

A maker writes the files below a data root, and returns the class names that the prompts of CLIP's authors would have
(None where they come from elsewhere) and the name of each test image's class, in the order of the set.
"""

import csv
import io
import json
import pickle
import struct
import tarfile
from typing import NamedTuple

import numpy as np
from PIL import Image


class Made(NamedTuple):
    names: list | None
    expected: list[str]


def picture(path, level=0, size=(8, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, 255 - level, 99)).save(path)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def folders(root, names, number=1, suffix="jpg"):
    for name in names:
        for index in range(number):
            picture(root / name / f"{index}.{suffix}", index)


def food101(root, patch):
    for split, number in (("train", 2), ("test", 1)):
        files = {name: [f"{name}/{split}{index}" for index in range(number)] for name in ("apple_pie", "pho", "ramen")}
        write(root / "food-101" / "meta" / f"{split}.json", json.dumps(files))
        for name in (file for few in files.values() for file in few):
            picture(root / "food-101" / "images" / f"{name}.jpg")
    return Made(["apple pie", "pho", "ramen"], ["apple pie", "pho", "ramen"])


def _cifar(root, patch, name, folder, labels, meta):
    from torchvision import datasets

    pixels = np.random.default_rng(0).integers(0, 256, (3, 3072), dtype=np.uint8)
    (root / folder).mkdir(parents=True)
    for file in ("one_train", "one_test"):
        (root / folder / file).write_bytes(pickle.dumps({"data": pixels, labels: [2, 0, 1]}))
    (root / folder / "meta").write_bytes(pickle.dumps({meta: ["apple", "aquarium_fish", "baby"]}))
    cls = getattr(datasets, name)
    patch.setattr(cls, "train_list", [["one_train", None]])
    patch.setattr(cls, "test_list", [["one_test", None]])
    patch.setattr(cls, "meta", {"filename": "meta", "key": meta, "md5": None})
    return Made(["apple", "aquarium fish", "baby"], ["baby", "apple", "aquarium fish"])


def cifar10(root, patch):
    return _cifar(root, patch, "CIFAR10", "cifar-10-batches-py", "labels", "label_names")


def cifar100(root, patch):
    return _cifar(root, patch, "CIFAR100", "cifar-100-python", "fine_labels", "fine_label_names")


def birdsnap(root, patch):
    folders(root / "birdsnap" / "images", ["Acorn_Woodpecker", "Anhinga"], 3)
    lines = ["path", "Acorn_Woodpecker/1.jpg", "Anhinga/2.jpg", "Anhinga/gone.jpg"]
    write(root / "birdsnap" / "test_images.txt", "\n".join(lines))
    return Made(["Acorn Woodpecker", "Anhinga"], ["Acorn Woodpecker", "Anhinga"])


def sun397(root, patch):
    places = {"a/abbey": "abbey", "a/apse/indoor": "apse indoor"}
    write(root / "SUN397" / "ClassName.txt", "".join(f"/{place}\n" for place in places))
    for place in places:
        for index in range(3):
            picture(root / "SUN397" / place / f"sun_{index}.jpg")
    write(root / "SUN397" / "Training_01.txt", "/a/abbey/sun_1.jpg\n/a/apse/indoor/sun_1.jpg\n")
    write(
        root / "SUN397" / "Testing_01.txt", "/a/abbey/sun_2.jpg\n/a/apse/indoor/sun_0.jpg\n/a/apse/indoor/sun_2.jpg\n"
    )
    return Made(list(places.values()), ["abbey", "apse indoor", "apse indoor"])


def shards(folder, names, labels, templates=("a photo of a {c}.",)):
    write(folder / "classnames.txt", "\n".join(names))
    write(folder / "zeroshot_classification_templates.txt", "\n".join(templates))
    for split in ("train", "test"):
        (folder / split).mkdir()
        write(folder / split / "nshards.txt", "2\n")
        for shard in range(2):
            with tarfile.open(folder / split / f"{shard}.tar", "w") as tar:
                for index in range(shard, len(labels), 2):
                    for extension, content in (("cls", str(labels[index]).encode()), ("webp", _bytes())):
                        member = tarfile.TarInfo(f"s{index:07d}.{extension}")
                        member.size = len(content)
                        tar.addfile(member, io.BytesIO(content))
    order = [labels[index] for shard in range(2) for index in range(shard, len(labels), 2)]
    return Made(None, [names[label] for label in order])


def _bytes():
    file = io.BytesIO()
    Image.new("RGB", (5, 4), "red").save(file, "webp")
    return file.getvalue()


def stanford_cars(root, patch):
    return shards(root / "wds_cars", ["Acura RL Sedan 2012", "Audi S4 Sedan 2007"], [1, 0, 1])


def kitti_distance(root, patch):
    names = [f"a photo i took with a car {where}." for where in ("beside me", "nearby", "far off", "nowhere")]
    return shards(root / "wds_vtab-kitti_closest_vehicle_distance", names, [3, 0, 2, 1], ["{c}"])


def pcam(root, patch):
    return shards(root / "wds_vtab-pcam", ["lymph node", "tumor"], [1, 0])


def fgvc_aircraft(root, patch):
    data = root / "fgvc-aircraft-2013b" / "data"
    write(data / "variants.txt", "707-320\nF-16A/B\n")
    for number, split in enumerate(("train", "val", "test")):
        write(data / f"images_variant_{split}.txt", f"000{number} F-16A/B\n001{number} 707-320\n")
        for image in (f"000{number}", f"001{number}"):
            picture(data / "images" / f"{image}.jpg")
    return Made(["707-320", "F-16A/B"], ["F-16A/B", "707-320"])


def voc2007(root, patch):
    folder = root / "VOCdevkit" / "VOC2007"
    for number, split in enumerate(("trainval", "train", "val", "test")):
        write(folder / "ImageSets" / "Main" / f"{split}.txt", f"00000{number}\n")
        objects = [("dog", 0), ("dog", 1), ("person", 1), ("pottedplant", 0)]
        parts = "".join(f"<object><name>{one}</name><difficult>{hard}</difficult></object>" for one, hard in objects)
        write(folder / "Annotations" / f"00000{number}.xml", f"<annotation>{parts}</annotation>")
        picture(folder / "JPEGImages" / f"00000{number}.jpg")
    from clip_lightning.data.voc_labels import VOC_CLASSES

    return Made([{"pottedplant": "potted plant"}.get(one, one) for one in VOC_CLASSES], ["dog + potted plant"])


def dtd(root, patch):
    data = root / "dtd" / "dtd"
    for number, split in enumerate(("train", "val", "test")):
        files = [f"{name}/{name}_{number}.jpg" for name in ("banded", "dotted")]
        write(data / "labels" / f"{split}1.txt", "\n".join(files) + "\n")
        for file in files:
            picture(data / "images" / file)
    return Made(["banded", "dotted"], ["banded", "dotted"])


def oxford_pets(root, patch):
    """Breeds are in the order of their names, but CLIP's authors list the cats first."""
    data = root / "oxford-iiit-pet"
    breeds = ["Abyssinian", "american_bulldog", "Bengal"]
    for number, split in enumerate(("trainval", "test")):
        lines = [f"{breed}_{number} {label} 1 1\n" for label, breed in enumerate(breeds, start=1)]
        write(data / "annotations" / f"{split}.txt", "".join(lines))
        for breed in breeds:
            picture(data / "images" / f"{breed}_{number}.jpg")
    return Made(["Abyssinian", "Bengal", "american bulldog"], ["Abyssinian", "american bulldog", "Bengal"])


def caltech101(root, patch):
    names = ["BACKGROUND_Google", "Faces", "Leopards", "accordion"]
    folders(root / "caltech101" / "101_ObjectCategories", names, 32)
    spoken = ["background", "off-center face", "leopard", "accordion"]
    return Made(spoken, [name for name in spoken for _ in range(2)])


def flowers102(root, patch):
    """Labels of the release count from 1."""
    from scipy.io import savemat
    from torchvision.datasets import Flowers102

    data = root / "flowers-102"
    for image in range(1, 7):
        picture(data / "jpg" / f"image_{image:05d}.jpg")
    savemat(data / "imagelabels.mat", {"labels": np.array([1, 102, 2, 1, 102, 2])})
    savemat(data / "setid.mat", {"trnid": np.array([1, 2]), "valid": np.array([3, 4]), "tstid": np.array([5, 6])})
    patch.setattr(Flowers102, "_check_integrity", lambda self: True)
    return Made(Flowers102.classes, ["blackberry lily", "hard-leaved pocket orchid"])


def mnist(root, patch):
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 0x803, 3, 28, 28) + bytes(3 * 28 * 28))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, 3) + bytes([7, 0, 9]))
    return Made(list("0123456789"), ["7", "0", "9"])


def fer2013(root, patch):
    from torchvision.datasets import fer2013 as module

    (root / "fer2013").mkdir(parents=True)
    with open(root / "fer2013" / "fer2013.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["emotion", "pixels", "Usage"])
        test = [(label, "PublicTest") for label in (6, 4, 0, 1, 2, 3)] + [(5, "PrivateTest")]
        for label, usage in [(label, "Training") for label in range(7)] + test:
            rows.writerow([label, " ".join(["9"] * 48 * 48), usage])
    patch.setattr(module, "check_integrity", lambda path, md5=None: True)
    names = [["angry"], ["disgusted"], ["fearful"], ["happy", "smiling"], ["sad", "depressed"], ["surprised"]]
    first = ["neutral", "sad", "angry", "disgusted", "fearful", "happy", "surprised"]
    return Made([*names, ["neutral", "bored"]], first)


def stl10(root, patch):
    from torchvision.datasets import STL10

    data = root / "stl10_binary"
    data.mkdir(parents=True)
    for split in ("train", "test"):
        (data / f"{split}_X.bin").write_bytes(bytes(3 * 3 * 96 * 96))
        (data / f"{split}_y.bin").write_bytes(bytes([2, 1, 10]))
    (data / "class_names.txt").write_text("\n".join(_STL10))
    (data / "fold_indices.txt").write_text("0 2 \n")
    patch.setattr(STL10, "_check_integrity", lambda self: True)
    return Made(_STL10, ["bird", "airplane", "truck"])


_STL10 = ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"]
EUROSAT = {
    "AnnualCrop": "annual crop land",
    "Forest": "forest",
    "HerbaceousVegetation": "brushland or shrubland",
    "Highway": "highway or road",
    "Industrial": "industrial buildings or commercial buildings",
    "Pasture": "pasture land",
    "PermanentCrop": "permanent crop land",
    "Residential": "residential buildings or homes or apartments",
    "River": "river",
    "SeaLake": "lake or sea",
}


def eurosat(root, patch):
    folders(root / "eurosat" / "2750", EUROSAT, 2)
    return Made(None, list(EUROSAT.values()))


def resisc45(root, patch):
    folders(root / "NWPU-RESISC45", ["airplane", "baseball_diamond"], 72)
    return Made(["airplane", "baseball diamond"], ["airplane"] * 2 + ["baseball diamond"] * 2)


def gtsrb(root, patch):
    data = root / "gtsrb" / "GTSRB"
    for label in range(15):
        picture(data / "Training" / f"{label:05d}" / "1.ppm")
        picture(data / "Final_Test" / "Images" / f"{label:05d}.ppm")
    rows = "".join(f"{label:05d}.ppm;8;6;0;0;8;6;{label}\n" for label in reversed(range(15)))
    write(root / "gtsrb" / "GT-final_test.csv", "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\n" + rows)
    names = [f"sign {label}" for label in range(14)] + ["stop"]
    return Made(names, names[::-1])


def country211(root, patch):
    for split in ("train", "valid", "test"):
        folders(root / "country211" / split, ["AD", "AE", "AF"])
    names = ["Andorra", "United Arab Emirates", "Afghanistan"]
    return Made(names, names)


def make_video(path, level):
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 32, 32, "yuv420p", 4
        for index in range(10):
            pixels = np.full((32, 32, 3), level + 20 * index, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def ucf101(root, patch):
    for name in ("ApplyLipstick", "YoYo"):
        for part in ("train", "test"):
            make_video(root / "UCF-101" / name / f"v_{name}_{part}.avi", 10)
    for part, number in (("train", " 1"), ("test", "")):
        lines = [f"{name}/v_{name}_{part}.avi{number}\n" for name in ("YoYo", "ApplyLipstick")]
        write(root / "ucfTrainTestlist" / f"{part}list01.txt", "".join(lines))
    return Made(["Apply Lipstick", "Yo Yo"], ["Yo Yo", "Apply Lipstick"])


def kinetics700(root, patch):
    for part in ("train", "val"):
        for name in ("abseiling", "air drumming"):
            make_video(root / "kinetics700" / part / name / "a.mp4", 10)
    return Made(["abseiling", "air drumming"], ["abseiling", "air drumming"])


def clevr_counts(root, patch):
    """Names are sorted as texts, "10" first."""
    data = root / "clevr" / "CLEVR_v1.0"
    for split in ("train", "val"):
        scenes = []
        for index, number in enumerate((10, 3, 4, 5, 6, 7, 8, 9)):
            name = f"CLEVR_{split}_{index:06d}.png"
            picture(data / "images" / split / name)
            scenes.append({"image_filename": name, "objects": [{}] * number})
        write(data / "scenes" / f"CLEVR_{split}_scenes.json", json.dumps({"scenes": scenes}))
    return Made(["10", *"3456789"], ["10", *"3456789"])


def hateful_memes(root, patch):
    for file in ("train", "dev_seen"):
        rows = [{"id": label, "img": f"img/0{label}.png", "label": label, "text": "so it goes"} for label in (1, 0)]
        write(root / "hateful_memes" / f"{file}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    for label in (0, 1):
        picture(root / "hateful_memes" / "img" / f"0{label}.png")
    return Made(["meme", "hatespeech meme"], ["hatespeech meme", "meme"])


def sst2(root, patch):
    for split in ("train", "valid", "test"):
        folders(root / "rendered-sst2" / split, ["negative", "positive"], suffix="png")
    return Made(["negative", "positive"], ["negative", "positive"])


def svhn(root, patch):
    """Tens are zeros in the release."""
    from scipy.io import savemat
    from torchvision.datasets import SVHN

    (root / "svhn").mkdir(parents=True)
    for split in ("train", "test"):
        content = {"X": np.zeros((32, 32, 3, 10), np.uint8), "y": np.arange(10, 0, -1)[:, None]}
        savemat(root / "svhn" / f"{split}_32x32.mat", content)
    patch.setattr(SVHN, "_check_integrity", lambda self: True)
    return Made(None, ["zero", "nine", "eight", "seven", "six", "five", "four", "three", "two", "one"])
