"""Which keys there are, and what to say of one that is not."""

import difflib
import importlib
import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch import Trainer
from torchvision.datasets import VisionDataset
from torchvision.transforms import v2

from clip_lightning import data, evaluation, models, objectives, optim, text
from clip_lightning.callbacks import Checkpoints, Guards, RunEvaluators, WeightAverages
from clip_lightning.cli.errors import UserError
from clip_lightning.cli.trust import why_refused
from clip_lightning.config import Config
from clip_lightning.datamodules import ImageTextDataModule
from clip_lightning.task import CLIPTask

KEYS = (
    "config",
    "name",
    "run_dir",
    "seed_everything",
    "num_threads",
    "matmul_precision",
    "compile",
    "trainer",
    "model",
    "data",
    "averaging",
    "guards",
    "evaluation",
    "checkpoints",
)
"""Top-level keys; ``--config`` is one on the command line only."""


LINKED = {
    "data.seed": "seed_everything",
    "model.text_encoder.init_args.vocab_size": "model.tokenizer",
    "model.text_encoder.init_args.context_length": "model.tokenizer",
    "trainer.default_root_dir": "run_dir",
}
"""Keys that follow another one and are not given themselves."""


def check_keys(config: Config) -> None:
    """Refuses unknown keys of the groups whose names are fixed, before a parser reports what then is missing.

    Args:
        config: Composed configuration.

    Raises:
        UserError: With the key and the nearest valid one.
    """
    groups: dict[str, type] = {
        "trainer": Trainer,
        "model": CLIPTask,
        "data": ImageTextDataModule,
        "averaging": WeightAverages,
        "guards": Guards,
        "evaluation": RunEvaluators,
        "checkpoints": Checkpoints,
    }
    check_names(config, [key for key in KEYS if key != "config"], "")
    for group, cls in groups.items():
        value = config.get(group, {})
        if not isinstance(value, Mapping):
            raise UserError(f"{group} is {value!r}; it is a mapping of keys such as {group}.{_parameters(cls)[0]}")
        check_names(value, _parameters(cls), f"{group}.")
    for key, owner in LINKED.items():
        if value_at(config, key) is not None:
            raise UserError(f"key {key} is not given itself; it follows {owner}")


def value_at(config: Any, path: str) -> Any:
    """The value of a dotted key, or None."""
    for name in path.split("."):
        config = config.get(name) if isinstance(config, Mapping) else None
    return config


def check_names(given: Mapping[str, Any], known: Sequence[str], prefix: str) -> None:
    """Refuses keys that are not known.

    Args:
        given: A group of the configuration.
        known: Its keys.
        prefix: Put before a key that is none of them, such as "trainer.".

    Raises:
        UserError: With the nearest known key.
    """
    for key in given:
        if key not in known:
            raise UserError(f"key {prefix}{key} is not known; {nearest(str(key), known)}")


def nearest(name: str, known: Sequence[str]) -> str:
    """Words that name what was probably meant, or else all that there is."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(sorted(known))}"


def with_suggestion(message: str) -> str:
    """A parser's message as one paragraph, with the nearest valid name where it names an invalid one."""
    message = re.sub(r"\s*\n\s*", " ", message).strip()
    wrong = re.search(r"Problem with given class_path '([\w.]+)': Option '(\w+)' is not accepted", message)
    if wrong:
        cls = _import(wrong[1])
        return f"{message}; {nearest(wrong[2], _parameters(cls))}" if cls else message
    missing = re.search(r"Parser key \"([\w.]+)\".*No module named '([\w.]+)'", message)
    if missing:
        package = missing[2].partition(".")[0]
        return (
            f"{missing[1]}: package {package!r} is not installed; pip install {package}, or if it is a file of your "
            "own, run where it lies"
        )
    denied = re.search(r"Parser key \"([\w.]+)\".*Importing '([\w.]+)' is not allowed", message)
    if denied:
        return f"{denied[1]}: {why_refused(denied[2])}"
    group = re.search(r"Group '(\w+)' does not accept option '([\w.]+)'", message)
    if group and group[1] == "trainer":
        return f"key trainer.{group[2]} is not known; {nearest(group[2], _parameters(Trainer))}"
    choice = re.search(r"Parser key \"([\w.]+)\": Expected a typing\.Literal\[(.*)\]\. Got value: (.*)$", message)
    if choice:
        known = re.findall(r"'([^']*)'", choice[2])
        return f"{message[: choice.start()]}{choice[1]} {choice[3]!r} is not known; {nearest(choice[3], known)}"
    name = re.search(r"Expected a dot import path string: (\w+)", message)
    if name:
        place = message.split(" Does not validate")[0].split(": Expected")[0]
        known = _class_names(place)
        if name[1] in known:
            return f"{place}: {name[1]!r} is of another kind than what belongs there"
        return f"{place}: class {name[1]!r} is not known; {nearest(name[1], known)}"
    return message


def _import(class_path: str) -> type | None:
    module, _, name = class_path.rpartition(".")
    cls = getattr(importlib.import_module(module), name, None)
    return cls if isinstance(cls, type) else None


def _parameters(cls: type) -> list[str]:
    return [name for name in inspect.signature(cls).parameters if name not in ("args", "kwargs")]


def _class_names(place: str) -> list[str]:
    """Names of all classes that can be given without their module at a place of the configuration."""
    bases = [models.ImageEncoder, models.TextEncoder, text.Tokenizer, objectives.Objective, optim.Schedule]
    bases += [data.Source, data.LabelledDataset, evaluation.Evaluator]
    for part, base in (("augmentations", v2.Transform), ("TorchvisionLabels", VisionDataset)):
        if part in place:
            bases = [base]
    names = {cls.__name__ for base in bases for cls in _subclasses(base)}
    return sorted(name for name in names if not name.startswith("_"))


def _subclasses(base: type) -> set[type]:
    found: set[type] = set(base.__subclasses__())
    return found.union(*map(_subclasses, found))
