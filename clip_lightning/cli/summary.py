"""``summary``: what a configured model costs, part by part, without its weights or data."""

from collections.abc import Sequence

import torch

from clip_lightning.cli.compose import compose
from clip_lightning.cli.errors import UserError
from clip_lightning.cli.keys import KEYS, check_keys, value_at
from clip_lightning.cli.training import DEFAULTS, build_cli
from clip_lightning.config import Config, set_by_path
from clip_lightning.models import CLIP, ModifiedResNet
from clip_lightning.models.cost import PartCost, model_cost, whole_pool_flops

USAGE = """usage: python -m clip_lightning summary --config FILE ... [--key value ...]

Prints parameters, operations and activation memory of each part of the configured model. It takes the keys of fit, and
of these needs the model alone; nothing is downloaded, and no weights are allocated:
  python -m clip_lightning summary --config configs/model/rn50.yaml
"""

_NOTES = """FLOPs: one forward pass, a multiply-add counted as 2; matrix products, convolutions and attention.
Activations: what a forward pass in fp32 keeps for the backward pass, weights not counted."""

_FLOPS = ("", "k", "M", "G", "T")
_BYTES = ("B", "KiB", "MiB", "GiB")

# The parser asks for data too; of this nothing is drawn.
_NO_DATA: Config = {"train": [{"class_path": "ShapeScenes", "init_args": {"size": 1}}]}


def main(arguments: Sequence[str]) -> int:
    """Prints the table.

    Args:
        arguments: Command line after the verb.

    Returns:
        Exit code.

    Raises:
        UserError: If the configuration is not accepted.
    """
    config, flags = compose(arguments, KEYS)
    if {"--help", "-h"} & set(flags) or not arguments:
        print(USAGE)
        return 0
    if flags:
        raise UserError(f"{flags[0]!r} is not understood; options are --config FILE and --key value")
    check_keys(config)
    if not config.get("model"):
        raise UserError(
            "no model is configured; give --config FILE with a model section, such as configs/model/rn50.yaml"
        )
    model = build_model(config)
    print(format_costs(model, model_cost(model)))
    return 0


def build_model(config: Config) -> CLIP:
    """The configured model on the meta device, by the rules of ``fit``.

    Args:
        config: Composed configuration, of which only the model is used.

    Returns:
        The model: shapes and no weights.

    Raises:
        UserError: If the model is not accepted.
    """
    trainer = {**DEFAULTS["trainer"], "logger": False, "accelerator": "cpu"}
    alone = {**DEFAULTS, "trainer": trainer, "model": _unlearned(config["model"]), "data": _NO_DATA}
    with torch.device("meta"):
        model: CLIP = build_cli("summary", alone).model.model
    return model


def _unlearned(model: Config) -> Config:
    """The same model without what its parts would learn from captions or download, which changes no size."""
    for tower in ("image_encoder", "text_encoder"):
        if value_at(model, f"{tower}.init_args.pretrained"):
            model = set_by_path(model, f"{tower}.init_args.pretrained", False)
    tokenizer = value_at(model, "tokenizer.init_args") or {}
    if tokenizer.get("corpus") is not None:
        others = {key: value for key, value in tokenizer.items() if key != "corpus"}
        model = {**model, "tokenizer": {**model["tokenizer"], "init_args": {**others, "merges": []}}}
    return model


def format_costs(model: CLIP, costs: Sequence[PartCost]) -> str:
    """A table of a model's costs with what the columns mean.

    Args:
        model: The model.
        costs: Its rows.

    Returns:
        Text of several lines.
    """
    rows = [("part", "parameters", "FLOPs", "activations"), *map(_row, costs)]
    total = PartCost(
        "total",
        sum(cost.parameters for cost in costs),
        sum(cost.flops for cost in costs),
        sum(cost.activation_bytes for cost in costs),
    )
    rows.append(_row(total))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]))
    lines.insert(-1, "-" * len(lines[0]))
    return "\n".join([*lines, "", _of_what(model), _NOTES, *_as_published(model, costs)])


def _row(cost: PartCost) -> tuple[str, str, str, str]:
    """A part's cells."""
    flops, size = _scaled(cost.flops, 1000, _FLOPS), in_bytes(cost.activation_bytes)
    return cost.part, f"{cost.parameters:,}", flops, size


def _as_published(model: CLIP, costs: Sequence[PartCost]) -> list[str]:
    """Why a paper's figure is another, where it is."""
    if not isinstance(model.image_encoder, ModifiedResNet):
        return []
    flops = costs[0].flops + whole_pool_flops(model.image_encoder.attention_pool)
    return [
        f"Published FLOPs of {costs[0].part} are {_scaled(flops, 1000, _FLOPS)}: they count every position of the "
        "attention pool, of which one is used and computed here."
    ]


def in_bytes(size: float) -> str:
    """A size of memory, as it is shown."""
    return _scaled(size, 1024, _BYTES)


def _scaled(value: float, step: int, units: Sequence[str]) -> str:
    """A number in the largest unit in which it is 1 at least."""
    power = 0
    while value >= step and power < len(units) - 1:
        value, power = value / step, power + 1
    return f"{value:.{2 if power else 0}f} {units[power]}".rstrip()


def _of_what(model: CLIP) -> str:
    """For which input the costs are."""
    size, text = model.pixels.size, model.text_encoder
    of_text = f" and one text of {text.context_length} tokens" if text else ""
    return f"For one image of {size} x {size} pixels{of_text}; a shared space of {model.embed_dim} dimensions."
