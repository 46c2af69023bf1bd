"""What bounds the speed of a training, and what to change."""

from collections.abc import Mapping
from dataclasses import dataclass

NOTABLE_WAIT = 0.15
"""Share of a step from which on waiting for data is named though more time is spent on the model: it is for nothing."""


@dataclass(frozen=True)
class Circumstances:
    """What there is to be changed.

    Args:
        is_gpu: Whether a GPU trains.
        cpus: Processors of this machine that each training process may take for itself.
        num_workers: Processes that read data.
        precision: The trainer's.
        matmul_precision: Of float32 products.
        is_compiled: Whether blocks are compiled.
        recomputes: Whether forward passes are done again, by micro-batches or by ``gradient_checkpointing``.
    """

    is_gpu: bool
    cpus: int
    num_workers: int
    precision: str
    matmul_precision: str
    is_compiled: bool
    recomputes: bool


def bottleneck(seconds: Mapping[str, float], given: Circumstances) -> str:
    """One line: what takes the time, and what to change.

    Args:
        seconds: Of a step, by part: "data", "forward", "loss", "backward", "optimizer", "communication", "other".
        given: What there is to be changed.
    """
    total = max(1e-12, sum(seconds.values()))
    shares = {name: value / total for name, value in seconds.items()}
    shares["model"] = shares.pop("forward", 0.0) + shares.pop("backward", 0.0)
    name = max(shares, key=lambda part: shares[part])
    if shares.get("data", 0.0) >= NOTABLE_WAIT:
        name = "data"
    what, change = {
        "data": ("waiting for data", _for_data),
        "model": ("the model, forward and backward", _for_model),
        "loss": ("the loss", _for_loss),
        "optimizer": ("the optimiser", _for_optimizer),
        "communication": ("communication", _for_communication),
        "other": ("what surrounds a step", _for_the_rest),
    }[name]
    return f"{what}, {shares[name]:.0%} of a step; {change(given)}"


def _for_data(given: Circumstances) -> str:
    if given.num_workers < given.cpus:
        return f"raise --data.num_workers from {given.num_workers}; `tune` finds the number"
    return (
        f"{given.num_workers} workers on {given.cpus} CPUs read no faster; store smaller images, or take more CPUs for "
        "each GPU"
    )


def _for_model(given: Circumstances) -> str:
    changes = []
    if given.precision == "32-true":
        changes.append("--trainer.precision bf16-mixed")
    if given.is_gpu and given.precision == "32-true" and given.matmul_precision == "highest":
        changes.append("--matmul_precision high")
    if given.is_gpu and not given.is_compiled:
        changes.append("--compile true")
    if given.recomputes:
        changes.append("fewer activations computed twice, by a larger --model.micro_batch_size, as `tune` finds it")
    if changes:
        return f"what may help: {'; '.join(changes)}"
    return "what may help: a smaller model, or more devices"


def _for_loss(given: Circumstances) -> str:
    return "it grows with the square of the batch: lower data.batch_size, or take a wider model or more devices"


def _for_optimizer(given: Circumstances) -> str:
    return "raise data.batch_size, so that there are fewer steps, or take an optimiser with a fused kernel, like AdamW"


def _for_communication(given: Circumstances) -> str:
    return "raise data.batch_size, so that each device has more pairs between two exchanges"


def _for_the_rest(given: Circumstances) -> str:
    return "raise --trainer.log_every_n_steps, and look at callbacks of your own with --trainer.profiler simple"
