"""Refuses what this machine cannot do, before anything is built: devices, strategies, precisions."""

import os
import shutil
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch.strategies import StrategyRegistry

from clip_lightning.cli.errors import UserError
from clip_lightning.cli.keys import nearest
from clip_lightning.config import Config

_STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true", "fsdp2")
"""What is proposed in place of a name that is not known."""
_RENDEZVOUS = ("MASTER_ADDR", "SLURM_NTASKS", "LSB_JOBID", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
"""Variables of which a launcher of processes on several nodes sets one at least."""
_SCALED = ("16-mixed", "16", 16)
"""Half precision whose gradients are scaled, which only GPUs compute."""


def check_devices(config: Config) -> None:
    """Compares a configuration with the devices that there are, and with who has started the processes.

    Args:
        config: Composed configuration.

    Raises:
        UserError: With the value, what there is, and the nearest value that can be had.
    """
    trainer = config.get("trainer") or {}
    gpus = _gpus()
    accelerator = str(trainer.get("accelerator") or "auto").lower()
    if accelerator in ("gpu", "cuda") and gpus == 0:
        raise UserError(
            f"trainer.accelerator {accelerator!r}, but PyTorch finds no GPU on this machine; give "
            "--trainer.accelerator cpu, or auto, which takes what there is"
        )
    is_cpu = _is_cpu(trainer)
    asked = _number(trainer.get("devices"))
    if not is_cpu and asked is not None and asked > gpus:
        raise UserError(f"trainer.devices {asked}, but this machine has {gpus} GPUs; give --trainer.devices {gpus}")
    _check_launcher(processes_here(trainer), int(trainer.get("num_nodes") or 1))
    _check_strategy(trainer.get("strategy"), is_cpu)
    _check_precision(trainer, is_cpu)
    if is_cpu and trainer.get("sync_batchnorm"):
        raise UserError(
            "trainer.sync_batchnorm true needs GPUs, and this is a run on the CPU; give false: each process then "
            "normalises by its part of the batch"
        )
    if is_cpu and config.get("compile") and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        raise UserError("compile true needs a C++ compiler on the CPU, and g++ is not installed; give --compile false")


def processes_here(trainer: Mapping[str, Any]) -> int:
    """Processes that train on this machine: as many as there are devices, or as are asked for.

    Args:
        trainer: That section of a configuration.
    """
    asked = _number(trainer.get("devices"))
    if asked is not None:
        return asked
    return 1 if _is_cpu(trainer) else _gpus()


def _is_cpu(trainer: Mapping[str, Any]) -> bool:
    accelerator = str(trainer.get("accelerator") or "auto").lower()
    return accelerator == "cpu" or (accelerator == "auto" and _gpus() == 0)


def own_cpus(processes: int = 1) -> int:
    """Processors of this machine that each of so many processes may take for itself; 0 where there are fewer."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return cpus // processes


def _gpus() -> int:
    """GPUs that PyTorch can use, those of Apple included."""
    return torch.cuda.device_count() or int(torch.backends.mps.is_available())


def _number(devices: Any) -> int | None:
    """How many devices are asked for; None where that is left open."""
    if isinstance(devices, list):
        return len(devices)
    text = str(devices)
    if "," in text:
        return len([part for part in text.split(",") if part.strip()])
    return int(text) if text.isdecimal() else None


def _check_launcher(devices: int, nodes: int) -> None:
    """Refuses nodes that nothing has started processes on, and another number of devices than torchrun has started."""
    if nodes > 1 and not any(name in os.environ for name in _RENDEZVOUS):
        raise UserError(
            f"trainer.num_nodes {nodes}, but no launcher has started this process, and it would wait for the other "
            f"nodes for ever; start it by torchrun --nnodes {nodes} or sbatch --nodes {nodes}, or give "
            "--trainer.num_nodes 1"
        )
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    started = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if started != devices:
        raise UserError(
            f"torchrun has started {started} processes on this machine, but trainer.devices is {devices}; give "
            f"--trainer.devices {started}, or --nproc_per_node {devices}"
        )


def _check_strategy(strategy: Any, is_cpu: bool) -> None:
    """Refuses strategies that there are not, that need a GPU, that train out of sight, and whose place fsdp2 has."""
    name = _name(strategy)
    short = name.rpartition(".")[2]
    if isinstance(strategy, str) and short.islower() and strategy not in (*StrategyRegistry, *_STRATEGIES):
        raise UserError(f"trainer.strategy {name!r} is not known; {nearest(name, _STRATEGIES)}")
    if _start_method(strategy) != "popen":
        raise UserError(
            f"trainer.strategy {name!r} trains in processes that hand nothing back to this one, which measures the "
            "best checkpoint; give --trainer.strategy ddp, which starts the command once for each device"
        )
    if is_cpu and short.lower().startswith("deepspeed"):
        raise UserError(f"trainer.strategy {name!r} needs a GPU, and this is a run on the CPU; give ddp or fsdp2")
    if short == "ModelParallelStrategy" or (short.lower().startswith("fsdp") and short != "fsdp2"):
        needs = "needs a GPU, and has" if is_cpu and short.lower().startswith("fsdp") else "has"
        raise UserError(
            f"trainer.strategy {name!r} {needs} checkpoints that this package does not read; give --trainer.strategy "
            "fsdp2, which divides a model over processes on any device"
        )


def _start_method(strategy: Any) -> str:
    """How Lightning would start further processes: by "popen" unless something else is asked for."""
    if isinstance(strategy, Mapping):
        return str((strategy.get("init_args") or {}).get("start_method") or "popen")
    return next((way for way in ("spawn", "fork", "notebook") if f"_{way}" in str(strategy)), "popen")


def _name(strategy: Any) -> str:
    return str(strategy.get("class_path") if isinstance(strategy, Mapping) else strategy or "auto")


def _check_precision(trainer: Mapping[str, Any], is_cpu: bool) -> None:
    """Refuses a precision that the device lacks."""
    precision = trainer.get("precision")
    if precision == "16-true":
        raise UserError(
            "trainer.precision '16-true' keeps moments of gradients in float16, in which their squares vanish; give "
            f"{'bf16-mixed' if is_cpu else '16-mixed, bf16-mixed'}, or 32-true"
        )
    if precision in _SCALED and is_cpu:
        raise UserError(
            f"trainer.precision {precision!r} needs a GPU, and this is a run on the CPU; give bf16-mixed, or 32-true"
        )
    if precision in _SCALED and _name(trainer.get("strategy")).endswith(("fsdp2", "FullySharded")):
        raise UserError(f"trainer.precision {precision!r} is not to be had with fsdp2; give bf16-mixed, or 32-true")
    is_cuda = not is_cpu and torch.cuda.is_available()
    if str(precision).startswith("bf16") and is_cuda and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise UserError(
            f"trainer.precision {precision!r}, but {torch.cuda.get_device_name()} does not compute it; give 16-mixed, "
            "or 32-true"
        )
