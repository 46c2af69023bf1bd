"""Each configuration of a data set of the paper reads its release, and its labels have the right names."""

import inspect
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import released_sets
import released_shifts

from clip_lightning import evaluation
from clip_lightning.cli.compose import read_config
from clip_lightning.cli.datasets import KEY, at_data_root, descriptions_of, refuse_absent
from clip_lightning.cli.evaluators import build_evaluators
from clip_lightning.data.decoding import decode

CONFIGS = Path(__file__).parents[2] / "configs" / "evaluate" / "datasets"
MAKERS = {
    name: maker
    for module in (released_sets, released_shifts)
    for name, maker in inspect.getmembers(module, inspect.isfunction)
    if (CONFIGS / f"{name}.yaml").is_file()
}
# Those with a trap in their order, or with code of ours; the others are readers of torchvision.
QUICK = [
    *("birdsnap", "caltech101", "clevr_counts", "eurosat", "fer2013", "flowers102", "hateful_memes", "imagenet_vid"),
    *("kitti_distance", "objectnet", "oxford_pets", "sun397", "voc2007", "youtube_bb"),
]
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in sorted(MAKERS) if name not in QUICK]


def prompts_of(config, names):
    """A file of prompts with the section that a configuration names."""
    sections = {text.partition("#")[2] for text in texts_of(config) if ".md#" in text}
    lists = f"classes = {json.dumps(names, indent=4)}\n\ntemplates = [\n    'a photo of a {{}}.',\n]\n"
    return "".join(f"## {section}\n```bash\n{lists}```\n" for section in sections)


def texts_of(config):
    if isinstance(config, dict):
        return [text for value in config.values() for text in texts_of(value)]
    if isinstance(config, list):
        return [text for value in config for text in texts_of(value)]
    return [config] if isinstance(config, str) else []


def fewer(config):
    """A configuration that passes over one image of a class where it would pass over a thousand."""
    if isinstance(config, dict):
        return {key: 1 if key == "skip" and value > 100 else fewer(value) for key, value in config.items()}
    return config


def build(name, root, patch):
    """The evaluators of a configuration on a made release; a probe's sets stand alone."""
    config = at_data_root(fewer(read_config(CONFIGS / f"{name}.yaml")), root)
    for package, word in {"av": "PyAV", "clip_benchmark": "clip_benchmark:", "scipy": "scipy"}.items():
        if any(word in text for text in [*texts_of(config), *texts_of(config[KEY])]):
            pytest.importorskip(package)
    made = MAKERS[name](root, patch)
    (root / "prompts.md").write_text(prompts_of(config, made.names or []))
    refuse_absent(config)
    evaluators = {}
    for key, one in config["evaluators"].items():
        if one["class_path"] == "LinearProbe":
            sets = {part: one["init_args"][part] for part in ("train", "val") if part in one["init_args"]}
            for part, dataset in sets.items():
                arguments = {"dataset": dataset, "name": part}
                evaluators[f"{key}_{part}"] = {"class_path": "ZeroShot", "init_args": arguments}
        else:
            evaluators[key] = one
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*are published")
        warnings.filterwarnings("ignore", message=".*are not there")
        return build_evaluators({"evaluators": evaluators})[0], made


def name_of(dataset, index):
    """The name of a sample's class; of several labels, all of them."""
    target = dataset.target(index)
    labels = [int(target)] if np.ndim(target) == 0 else np.flatnonzero(target).tolist()
    pooled = list(range(len(dataset.class_names))) if dataset.pooled is None else list(dataset.pooled)
    return " + ".join(dataset.class_names[pooled.index(label)][0] for label in labels)


def test_every_data_set_of_the_paper_has_a_configuration_and_a_made_release():
    names = {path.stem for path in CONFIGS.glob("*.yaml")}
    assert names == set(MAKERS)
    assert len(names) == 27 + 7 + 4


@pytest.mark.parametrize("name", [*QUICK, *SLOW])
def test_labels_have_the_names_of_their_release(name, tmp_path, monkeypatch):
    evaluators, made = build(name, tmp_path, monkeypatch)
    evaluator = evaluators[name]
    if not isinstance(evaluator, evaluation.ZeroShot):
        assert len(decode(evaluator.source.read(0).image)) == 3 if name == "iiit5k" else evaluator.dataset
        return
    dataset = evaluator.dataset
    assert [name_of(dataset, index) for index in range(len(dataset))] == made.expected
    for sets in evaluators.values():
        indices = {0, len(sets.dataset) - 1}
        assert all(decode(sets.dataset.source.read(index).image).shape[0] == 3 for index in indices)
        assert sets.dataset.source.fingerprint == sets.dataset.source.fingerprint
        assert Path(sets.dataset.source.place(0).split(" ")[0])


def test_descriptions_agree_with_the_sizes_that_the_sets_are_compared_with():
    for path in CONFIGS.glob("*.yaml"):
        config = read_config(path)
        [described] = descriptions_of(config)
        assert described.name == path.stem
        assert described.get
        sizes = [one for key, one in _sizes(config["evaluators"]) if key == "published_size"]
        assert not sizes or described.images in sizes
        assert KEY in config


def _sizes(config):
    if isinstance(config, dict):
        for key, value in config.items():
            yield key, value
            yield from _sizes(value)
