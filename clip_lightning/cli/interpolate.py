"""``interpolate``: a fine-tuned model, moved back towards the one that it started from."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clip_lightning.averages import BESIDE
from clip_lightning.checkpoint import KEY, read_checkpoint, write_checkpoint
from clip_lightning.cli.errors import UserError
from clip_lightning.cli.trained import VerbParser, add_checkpoint_options
from clip_lightning.interchange.parts import read_parts
from clip_lightning.interchange.start import start_from
from clip_lightning.models.lora import ADAPTERS

_WHAT = """Writes a checkpoint whose weights lie between those that a fine-tuning ended with and those that it started
from. It often keeps what the tuning has gained, and gets back what it has lost on other images (Wortsman et al. 2021,
arXiv 2109.01903). Adapters are merged first.

  python -m clip_lightning interpolate --checkpoint RUN/checkpoints/best.ckpt --towards START.ckpt --output half.ckpt
  python -m clip_lightning interpolate --checkpoint RUN/checkpoints/best.ckpt --towards START.ckpt \\
      --alpha 0.2 0.4 0.6 0.8 --output between

The figures of each: python -m clip_lightning validate --run_dir RUN --checkpoint FILE, after a tuning of adapters with
--model.image_lora null --model.text_lora null.
"""

_OF_TRAINING = ("optimizer_states", "lr_schedulers", "loops", "callbacks", BESIDE)
"""What of a checkpoint belongs to the weights that the training had, and to no others."""


def main(arguments: Sequence[str]) -> int:
    """Interpolates.

    Args:
        arguments: Command line after the verb.

    Returns:
        Exit code.

    Raises:
        UserError: If an alpha is out of its range, or files would be written over each other.
    """
    parser = VerbParser("interpolate", _WHAT)
    add_checkpoint_options(parser, "checkpoint of the fine-tuning")
    parser.add_argument("--towards", required=True, help="what it started from: anything that model.weights takes")
    parser.add_argument(
        *("--alpha",), type=float, nargs="+", default=[0.5], help="share of the tuned weights, 0-1 (0.5); several"
    )
    parser.add_argument("--output", required=True, type=Path, help="file to write, or a folder for several alphas")
    options = parser.parse(arguments)
    wrong = [alpha for alpha in options.alpha if not 0 <= alpha <= 1]
    if wrong:
        raise UserError(f"--alpha {wrong[0]} is not between 0, the start, and 1, the tuned model")
    files = _files(options.output, options.alpha)
    checkpoint = read_checkpoint(options.checkpoint)
    tuned, start = _ends(options.checkpoint, options.towards, options.allow_module, options.weights)
    for alpha, file in files.items():
        write_checkpoint(described(checkpoint, interpolated(tuned, start, alpha), alpha, options.towards), file)
        print(file)
    return 0


def _files(output: Path, alphas: Sequence[float]) -> dict[float, Path]:
    """Where each goes.

    Raises:
        UserError: If one is there already, or a folder is where a file is to be.
    """
    files = {alpha: output / f"alpha-{alpha:g}.ckpt" if len(alphas) > 1 else output for alpha in alphas}
    for file in files.values():
        if file.exists():
            raise UserError(f"--output {file} exists already; remove it or give another")
    return files


def _ends(
    checkpoint: str, towards: str, allow_modules: Collection[str], weights: str | None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights of the tuned model and of its start, under the names that a task has for them.

    Raises:
        ValueError: If one cannot be read, or the start is of another model.
    """
    parts = read_parts(checkpoint, allow_modules=allow_modules, weights=weights)
    task = nn.ModuleDict({"model": parts.model, "objective": parts.objective})
    # Copies, since the start's are written into the same memory.
    tuned = {name: tensor.clone() for name, tensor in task.state_dict().items()}
    for said in start_from(task, parts.model, towards):
        print(f"{towards}: {said}")
    return tuned, dict(task.state_dict())


def interpolated(tuned: Mapping[str, Tensor], start: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """Weights on the line from one model to another.

    Running statistics lie on it too; what counts, such as the batches that were seen, is the tuned model's.

    Args:
        tuned: Where the line ends.
        start: Where it begins, under the same names.
        alpha: How far along it, 0-1; both ends are exact.

    Source: Wortsman et al. 2021 (arXiv 2109.01903), section 3.
    """
    return {
        name: torch.lerp(start[name].to(value), value, alpha) if value.is_floating_point() else value
        for name, value in tuned.items()
    }


def described(checkpoint: Mapping[str, Any], weights: dict[str, Tensor], alpha: float, towards: str) -> dict[str, Any]:
    """A checkpoint with other weights, of the same model without adapters, and nothing that a training goes on from.

    Args:
        checkpoint: That of the tuned model.
        weights: What it is to hold.
        alpha: Share of the tuned weights.
        towards: What the others are of.
    """
    kept = {key: value for key, value in checkpoint.items() if key not in _OF_TRAINING}
    task = checkpoint[KEY]["task"]
    arguments = {name: None if name in ADAPTERS else value for name, value in task["init_args"].items()}
    description = {**checkpoint[KEY], "task": {**task, "init_args": arguments}}
    description.pop("weights", None)
    return {**kept, "state_dict": weights, KEY: {**description, "interpolated": {"alpha": alpha, "towards": towards}}}
