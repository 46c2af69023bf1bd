"""What to say when memory does not suffice: how much a step takes, and what to lower."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import torch

from clip_lightning.cli.errors import UserError
from clip_lightning.models.cost import model_cost

_OUT_OF_MEMORY = re.compile(r"DefaultCPUAllocator: (can't allocate memory|not enough memory)")


@contextmanager
def told_of_memory(cli: Any) -> Iterator[None]:
    """Meanwhile, an allocation that fails, on a GPU or the CPU, ends as one message with what to lower.

    Args:
        cli: What was built from the configuration.

    Raises:
        UserError: In place of PyTorch's error.
    """
    try:
        yield
        return
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        where = "the GPU" if isinstance(error, torch.OutOfMemoryError) else "this machine"
        message = f"out of memory on {where} at step {cli.trainer.global_step:,}: {what_to_lower(cli)}"
    # Outside of the handler: what the error holds on to is free by then.
    raise UserError(message)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or bool(_OUT_OF_MEMORY.search(str(error)))


def what_to_lower(cli: Any) -> str:
    """An estimate of what a step takes, and the settings that lower it, the most useful first."""
    task, world = cli.model, int(cli.trainer.world_size)
    pairs = max(1, cli.datamodule.batch_size // world)
    at_once = min(pairs, getattr(task, "micro_batch_size", None) or pairs)
    fixed, each = estimate(task)
    # At most half, and no more than memory would hold by the estimate.
    smaller = max(1, min(at_once // 2, (_whole_memory(cli.trainer.strategy.root_device) - fixed) // each))
    advice = [f"model.micro_batch_size {smaller}"] if at_once > 1 else []
    tunings = {f"model.{tower}_tuning": cli.config.model[f"{tower}_tuning"] for tower in ("image", "text")}
    if kept := [
        f"{key}.gradient_checkpointing" for key, tuning in tunings.items() if not tuning.gradient_checkpointing
    ]:
        advice.append(f"{' and '.join(kept)} true")
    if str(cli.trainer.precision) == "32-true":
        advice.append("trainer.precision bf16-mixed")
    return (
        f"by estimate in fp32, weights, gradients and moments take {_gib(fixed)} and what is kept of {at_once:,} pairs "
        f"at once {_gib(at_once * each)}. Lower it, in this order, by {'; '.join(advice)}; the update stays that of "
        "the whole batch"
    )


def estimate(task: Any) -> tuple[int, int]:
    """Bytes of weights, gradients and two moments, and of what a forward pass keeps of one pair, in fp32."""
    parameters = list(task.model.parameters())
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    fixed = 4 * (sum(parameter.numel() for parameter in parameters) + 3 * trained)
    return fixed, sum(part.activation_bytes for part in model_cost(task.model))


def _whole_memory(device: torch.device) -> int:
    """Bytes of a GPU, or of this machine, whoever has them."""
    return torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else int(psutil.virtual_memory().total)


def _gib(size: float) -> str:
    return f"{size / 2**30:,.2f} GiB"
