"""One checkpoint on five labelled sets and one retrieval set: ``evaluate`` against clip-benchmark's command line."""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import open_clip
import torch
import webdataset
import yaml
from safetensors.torch import save_file
from torchvision.io import encode_png

from clip_lightning.data import Digits, LabelledDataset, LabelledManifest, ShapeScenesLabels, decode
from clip_lightning.results import read_results

BATCH = 64
RECALL_AT = ("1", "5", "10")
CAPTIONED = "coco-captions-mini"
# What clip-benchmark calls our metrics.
METRICS = {"accuracy": "acc1", "top_5_accuracy": "acc5", "mean_per_class_accuracy": "mean_per_class_recall"}
METRICS |= {f"image_to_text_recall_at_{k}": f"text_retrieval_recall@{k}" for k in RECALL_AT}
METRICS |= {f"text_to_image_recall_at_{k}": f"image_retrieval_recall@{k}" for k in RECALL_AT}


class Cost(NamedTuple):
    """CPU seconds of a program for all sets, those of its start, and its figures by set and clip-benchmark's name."""

    seconds: float
    start: float
    figures: dict[tuple[str, str], float]


def clip_benchmark(options: argparse.Namespace) -> None:
    """``evaluate`` against clip-benchmark, each from the command line, on the same shards in clip-benchmark's layout.

    The model is ViT-B/32 with random weights, and ``--layers`` of its 12 layers a tower: a folder of open_clip that
    both read, in fp32. Both decode in their own process, which takes the least CPU time. clip-benchmark runs in its
    best way: all labelled sets by one command, and retrieval, another task, by a second one. Templates are the first
    ``--templates`` of ImageNet's 80, all of which clip-benchmark takes where a set has none of its own. CPU time is
    that of whole processes, imports included; the start is that of the same command on four pictures. The target is a
    third of the time, with figures equal to 1e-3.

    clip-benchmark 1.6.2 needs a NumPy before 2.4: ``pip install --no-deps --target FOLDER "numpy<2.4"``, and FOLDER as
    ``--packages``, which is put before its path alone.
    """
    templates = [template("{c}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES[: options.templates]]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _write_model(folder / "model", options.layers)
        _write_labelled(folder / "start", Digits(), 4, templates[:1])
        names, prompts = [], 0
        for dataset in _labelled(options.data):
            names.append(dataset.name)
            prompts += len(templates) * len(dataset.class_names)
            _write_labelled(folder / dataset.name, dataset, options.images, templates)
        captions = _write_captioned(folder / CAPTIONED, options.data / CAPTIONED)
        print(f"{len(names)} sets of {options.images} images, {prompts} prompts; {captions} captions", flush=True)
        theirs = _theirs(folder, names, options.packages)
        print(f"clip-benchmark: {theirs.seconds:.0f} CPU seconds, of which {theirs.start:.0f} to start", flush=True)
        ours = _ours(folder, names)
        print(f"ours: {ours.seconds:.0f} CPU seconds, of which {ours.start:.0f} to start", flush=True)
    _compare(ours, theirs)


def _labelled(data: Path) -> Iterable[LabelledDataset]:
    """Photographs of products under fine and coarse names, emoji by group, digits, and shapes of a colour."""
    groceries, emoji = data / "grocery-store" / "captions.jsonl", data / "emoji-noto" / "captions.jsonl"
    names = {"class_name_column": "class_name", "where": {"split": "test"}, "name": "products"}
    yield LabelledManifest(groceries, "label", ["{}"], **names)
    names = {"class_name_column": "coarse_name", "where": {"split": "val"}, "name": "groceries"}
    yield LabelledManifest(groceries, "coarse_label", ["{}"], **names)
    yield LabelledManifest(emoji, "group", ["{}"], name="emoji")
    yield Digits()
    yield ShapeScenesLabels()


def _write_model(folder: Path, layers: int) -> None:
    """A model as open_clip has it in a folder."""
    config = open_clip.get_model_config("ViT-B-32")
    config["vision_cfg"]["layers"] = config["text_cfg"]["layers"] = layers
    torch.manual_seed(0)
    folder.mkdir()
    save_file(open_clip.CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))


def _write_labelled(folder: Path, dataset: LabelledDataset, count: int, templates: Sequence[str]) -> None:
    """Images of a set, as many of each class as there are, and what is beside them."""
    labels = dataset.targets(np.arange(len(dataset)))
    earlier = np.array([np.count_nonzero(labels[:place] == label) for place, label in enumerate(labels)])
    chosen = np.lexsort((labels, earlier))[:count]
    samples = (
        {"png": _png(dataset.source.read(int(place)).image), "cls": str(labels[place]).encode()} for place in chosen
    )
    _write_shard(folder, samples)
    (folder / "classnames.txt").write_text("\n".join(names[0] for names in dataset.class_names))
    (folder / "zeroshot_classification_templates.txt").write_text("\n".join(templates))


def _write_captioned(folder: Path, data: Path) -> int:
    """Images with their captions, for clip-benchmark in lines and for us in a list; returns how many captions."""
    rows = [json.loads(line) for line in (data / "captions.jsonl").read_text().splitlines()]
    samples = (
        {
            "jpg": (data / row["image"]).read_bytes(),
            "txt": "\n".join(row["captions"]).encode(),
            "json": json.dumps({"captions": row["captions"]}).encode(),
        }
        for row in rows
    )
    _write_shard(folder, samples)
    (folder / "dataset_type.txt").write_text("retrieval")
    return sum(len(row["captions"]) for row in rows)


def _write_shard(folder: Path, samples: Iterable[dict[str, bytes]]) -> None:
    split = folder / "test"
    split.mkdir(parents=True)
    with webdataset.TarWriter(str(split / "0.tar")) as sink:
        for number, sample in enumerate(samples):
            sink.write({"__key__": f"{number:06d}", **sample})
    (split / "nshards.txt").write_text("1")


def _png(image: Any) -> bytes:
    """An image without transparency, of which the two make different pixels."""
    return encode_png(decode(image)).numpy().tobytes()


def _ours(folder: Path, names: Sequence[str]) -> Cost:
    """``evaluate``, once for all."""
    evaluators = {name: _zero_shot(folder / name) for name in names}
    shards = {
        "path": str(folder / CAPTIONED / "test" / "0.tar"),
        "caption_extension": "json",
        "caption_column": "captions",
        "name": CAPTIONED,
    }
    evaluators[CAPTIONED] = {
        "class_path": "Retrieval",
        "init_args": {"source": {"class_path": "Shards", "init_args": shards}},
    }
    start = _evaluate(folder, "first", {"start": _zero_shot(folder / "start")})
    seconds = _evaluate(folder, "all", evaluators)
    figures = {}
    for row in read_results(folder / "all" / "results.json"):
        _, name, metric = row.name.split("/")
        if metric in METRICS:
            figures[name, METRICS[metric]] = row.value
    return Cost(seconds, start, figures)


def _zero_shot(folder: Path) -> dict[str, Any]:
    dataset = {"class_path": "WebdatasetLabels", "init_args": {"path": str(folder)}}
    return {"class_path": "ZeroShot", "init_args": {"dataset": dataset}}


def _evaluate(folder: Path, output: str, evaluators: dict[str, Any]) -> float:
    config = folder / f"{output}.yaml"
    config.write_text(yaml.safe_dump({"name": output, "evaluators": evaluators}))
    command = ["clip_lightning", "evaluate", "--checkpoint", "model", "--config", config.name, "--output", output]
    how = f"--cache cache --batch_size {BATCH} --num_workers 0 --no_tracking".split()
    return _cpu_seconds(folder, [*command, *how])


def _theirs(folder: Path, names: Sequence[str], packages: Path | None) -> Cost:
    """clip-benchmark, once for the labelled sets and once for retrieval."""
    classification = "--task", "zeroshot_classification"
    start = _benchmark(folder, ["start"], classification, packages)
    seconds = _benchmark(folder, names, classification, packages)
    retrieval = "--task", "zeroshot_retrieval", "--recall_k", *RECALL_AT
    seconds += _benchmark(folder, [CAPTIONED], retrieval, packages)
    figures = {}
    for name in (*names, CAPTIONED):
        metrics = json.loads((folder / f"{name}.json").read_text())["metrics"]
        figures |= {(name, metric): value for metric, value in metrics.items()}
    return Cost(seconds, 2 * start, figures)


def _benchmark(folder: Path, names: Sequence[str], task: Sequence[str], packages: Path | None) -> float:
    command = ["clip_benchmark.cli", "eval", "--dataset", *(f"wds/{name}" for name in names), *task]
    model = ["--model", f"local-dir:{folder / 'model'}", "--pretrained", "random"]
    files = ["--dataset_root", "{dataset}", "--output", "{dataset}.json"]
    how = f"--no_amp --batch_size {BATCH} --num_workers 0".split()
    path = [] if packages is None else [str(packages.resolve())]
    return _cpu_seconds(folder, [*command, *model, *files, *how], path)


def _cpu_seconds(folder: Path, command: Sequence[str], path: Sequence[str] = ()) -> float:
    """CPU time of a module with arguments, on one thread, with that of its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    path = os.pathsep.join([*path, *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _compare(ours: Cost, theirs: Cost) -> None:
    without = (theirs.seconds - theirs.start) / (ours.seconds - ours.start)
    print(f"ratio {theirs.seconds / ours.seconds:.2f}, without what each takes to start {without:.2f}")
    for (name, metric), value in theirs.figures.items():
        print(f"{name} {metric}: {ours.figures[name, metric]:.4f} and {value:.4f}")
    apart = max(abs(ours.figures[place] - value) for place, value in theirs.figures.items())
    print(f"{len(theirs.figures)} figures, largest difference {apart:.1e}")
