"""The parts of a model that was read: what ``load`` gives to use, and ``export`` writes."""

import inspect
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor
from torch.optim import Optimizer

from clip_lightning.averages import check_kind, kind_of, with_weights
from clip_lightning.checkpoint import KEY, build_described, load_weights
from clip_lightning.interchange.foreign import Foreign, build_model
from clip_lightning.interchange.settings import check_activation
from clip_lightning.interchange.sources import read_source
from clip_lightning.models import CLIP, TimmImageEncoder
from clip_lightning.models.lora import ADAPTERS, merge_lora
from clip_lightning.models.positions import fit_positions
from clip_lightning.objectives import Contrastive, Objective
from clip_lightning.spec import build
from clip_lightning.text import CLIPTokenizer, Tokenizer

TIMM = "timm:"


class Parts(NamedTuple):
    """A model and what belongs to it.

    Args:
        model: The model, in evaluation mode, without adapters: they are merged.
        tokenizer: The one that it was trained with.
        objective: What it was trained for.
        card: Where it comes from, as plain data: "path", "format", and the run's "config", None if there is none.
        said: What the user is to know of how it was read.
    """

    model: CLIP
    tokenizer: Tokenizer
    objective: Objective
    card: dict[str, Any]
    said: list[str]


class NoTokenizer(Tokenizer):
    """Stands where a model has no text tower, and says so when it is used.

    Args:
        name: The model's name, for the message.
    """

    context_length = vocab_size = pad_id = eos_id = 0

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, texts: list[str]) -> Int[Tensor, "batch context_length"]:
        """Refuses.

        Raises:
            ValueError: Always.
        """
        raise ValueError(f"{self.name!r} has an image tower alone and takes no texts; use it for image features")


def read_parts(
    path: str | Path,
    *,
    allow_modules: Collection[str] = (),
    image_size: int | None = None,
    context_length: int | None = None,
    quick_gelu: bool | None = None,
    weights: str | None = None,
) -> Parts:
    """Reads a model of any known format; the arguments are those of ``clip_lightning.load``.

    Raises:
        ValueError: If there is nothing, nothing known, nothing safe, or it does not fit.
    """
    for name, size in (("image_size", image_size), ("context_length", context_length)):
        if size is not None and (type(size) is not int or size < 1):
            raise ValueError(f"{name} {size!r} is no whole number above 0; leave it out to have the weights' own")
    if quick_gelu not in (None, True, False):
        raise ValueError(f"quick_gelu {quick_gelu!r} is neither True nor False; leave it out where the weights say it")
    check_kind(weights)
    if str(path).startswith(TIMM):
        _check_images_alone(str(path), context_length=context_length, quick_gelu=quick_gelu)
        _refuse_choice(weights, path)
        return _timm_parts(str(path), image_size)
    source = read_source(path)
    if not isinstance(source, Foreign):
        source = with_weights(source, weights, path)
        sizes = {"image_size": image_size, "context_length": context_length}
        return _own_parts(source, path, allow_modules, sizes, quick_gelu)
    _refuse_choice(weights, path)
    model, said = build_model(source, image_size=image_size, context_length=context_length, quick_gelu=quick_gelu)
    text = model.text_encoder
    assert text is not None
    if text.vocab_size != CLIPTokenizer.vocab_size:
        raise ValueError(
            f"{source.path!r} has {text.vocab_size:,} token ids, and CLIP's vocabulary {CLIPTokenizer.vocab_size:,}: "
            "which texts they stand for is not known, so it cannot be loaded"
        )
    card = {"path": str(path), "format": source.format, "config": None}
    return Parts(model, CLIPTokenizer(text.context_length), Contrastive(), card, said)


def _check_images_alone(name: str, **given: int | bool | None) -> None:
    """Refuses what has no meaning for a model of timm alone.

    Args:
        name: The model's name, for the message.
        given: Values by the names of their arguments; None where one was left out.

    Raises:
        ValueError: If there are any.
    """
    wrong = [f"{argument} {value}" for argument, value in given.items() if value is not None]
    if wrong:
        raise ValueError(
            f"{' and '.join(wrong)} cannot be had of {name!r}, which is an image tower alone with the activation of "
            "timm; leave it out"
        )


def _refuse_choice(weights: str | None, path: str | Path) -> None:
    """Refuses to choose between weights where there is one set of them.

    Raises:
        ValueError: If a set is asked for.
    """
    if weights is not None:
        raise ValueError(f"{str(path)!r} is no checkpoint of a run and has one set of weights; leave weights out")


def _timm_parts(name: str, image_size: int | None) -> Parts:
    """A model of timm with its weights, which takes images alone.

    Raises:
        ValueError: If there is no such model, or its weights cannot be had.
    """
    encoder = TimmImageEncoder(name.removeprefix(TIMM), pretrained=True, image_size=image_size)
    model = CLIP(encoder, None, image_projection=False)
    return Parts(model.eval(), NoTokenizer(name), Contrastive(), {"path": name, "format": "timm", "config": None}, [])


def _own_parts(
    checkpoint: dict[str, Any],
    path: str | Path,
    allow_modules: Collection[str],
    sizes: Mapping[str, int | None],
    quick_gelu: bool | None,
) -> Parts:
    """The parts that a checkpoint of this package describes, of other sizes if any are given."""
    wanted = {name: size for name, size in sizes.items() if size is not None}
    model, tokenizer, objective = build_described(
        checkpoint, path, lambda spec: _build(_resized(spec["init_args"], wanted), allow_modules)
    )
    objective.setup(model)
    trained = torch.nn.ModuleDict({"model": model, "objective": objective}).eval()
    said: list[str] = []
    if wanted:
        tensors, said = fit_positions(checkpoint["state_dict"], trained.state_dict(), prefix="model.")
        checkpoint = {**checkpoint, "state_dict": tensors}
    load_weights(trained, checkpoint, path)
    merge_lora(model)
    model.requires_grad_(True)  # Adapters freeze what they adapt.
    check_activation(model, quick_gelu, path)
    card = {"path": str(path), "format": "clip_lightning", "config": checkpoint[KEY]["config"]}
    card |= {"samples_seen": _samples_seen(checkpoint), "weights": kind_of(checkpoint)}
    return Parts(model, tokenizer, objective, card, said)


def merged_tensors(
    checkpoint: Mapping[str, Any], path: str | Path, allow_modules: Collection[str]
) -> dict[str, Tensor]:
    """The weights of a checkpoint of this package, those of adapters added to the ones beside them.

    Args:
        checkpoint: As ``read_source`` returns it.
        path: Where it came from, for messages.
        allow_modules: Modules beside the installed packages whose classes it may name.

    Returns:
        Weights under the names that a task without adapters has for them.

    Raises:
        ValueError: If it describes no model, or its weights are of another one.
    """
    tensors: dict[str, Tensor] = dict(checkpoint["state_dict"])
    if not build_described(checkpoint, path, lambda spec: any(spec["init_args"].get(name) for name in ADAPTERS)):
        return tensors
    own = {name: tensors.pop(name) for name in list(tensors) if name.startswith("model.")}
    model = build_described(checkpoint, path, lambda spec: _build_model(spec["init_args"], allow_modules))
    trained = torch.nn.ModuleDict({"model": model})
    load_weights(trained, {"state_dict": own}, path)
    merge_lora(model)
    return tensors | trained.state_dict()


def _build_model(arguments: Mapping[str, Any], allow_modules: Collection[str]) -> CLIP:
    """The model of a task's description as its objective has it, and nothing else of it."""
    names = [*inspect.signature(CLIP).parameters, "objective"]
    parts = build({name: arguments[name] for name in names if name in arguments}, allow_modules=allow_modules)
    objective = parts.pop("objective", None) or Contrastive()
    model = CLIP(**parts)
    objective.setup(model)
    return model


def _samples_seen(checkpoint: Mapping[str, Any]) -> int | None:
    """Image-text pairs that the weights were trained on, repeated ones included; None if the checkpoint has no count.

    Each epoch has as many whole batches as fit into it, of which the last epoch may have had a part.
    """
    if "samples_seen" in checkpoint[KEY]:  # of an export
        seen = checkpoint[KEY]["samples_seen"]
        return None if seen is None else int(seen)
    place = checkpoint.get("ImageTextDataModule", {}).get("train")
    if place is None or not place["batches"]:
        return None
    batch = place["samples"] // place["batches"]
    return int(place["epoch"] * (place["identity"]["samples_per_epoch"] // batch) * batch + place["samples"])


def _build(arguments: Mapping[str, Any], allow_modules: Collection[str]) -> tuple[CLIP, Tokenizer, Objective]:
    """What of a task's description belongs to the model; the task itself would need Lightning."""
    parts = build(dict(arguments), allow_modules=allow_modules, partial=(Optimizer,))
    model = CLIP(**{name: parts[name] for name in inspect.signature(CLIP).parameters if name in parts})
    return model, parts["tokenizer"], parts["objective"] or Contrastive()


def _resized(arguments: Mapping[str, Any], sizes: Mapping[str, int]) -> dict[str, Any]:
    """The description of a task whose towers and tokeniser have other sizes."""
    resized = dict(arguments)
    places = {"image_size": ("image_encoder",), "context_length": ("text_encoder", "tokenizer")}
    for name, size in sizes.items():
        for part in places[name]:
            if resized[part] is None:
                raise ValueError(f"{name} {size} cannot be had of an image tower alone; leave it out")
            given = dict(resized[part]["init_args"])
            if name not in given:
                raise ValueError(f"{resized[part]['class_path']} has no argument {name}, so it has one size alone")
            given[name] = size
            if isinstance(pixels := given.get("pixels"), Mapping) and part == "image_encoder":
                given["pixels"] = {**pixels, "init_args": {**pixels["init_args"], "size": size}}
            resized[part] = {**resized[part], "init_args": given}
    return resized
