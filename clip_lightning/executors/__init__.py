"""Who does the runs of a study, behind one small protocol: a pool of processes on this machine, or SLURM. No torch."""

import inspect
from collections.abc import Mapping
from typing import Any

from clip_lightning.executors.base import Executor, Launch, State
from clip_lightning.executors.local_pool import LocalPool
from clip_lightning.executors.slurm import Slurm
from clip_lightning.spec import import_class

__all__ = ["Executor", "Launch", "LocalPool", "Slurm", "State", "build_executor"]

_OURS = {cls.__name__: cls for cls in (LocalPool, Slurm)}


def build_executor(spec: Mapping[str, Any]) -> Executor:
    """Makes the executor that a study names.

    Args:
        spec: ``class_path``, one of ours by its name or any other by its dotted path, and ``init_args``.

    Returns:
        The executor.

    Raises:
        ValueError: If there is no such class, or it does not take these arguments.
    """
    name, arguments = str(spec["class_path"]), spec.get("init_args") or {}
    if "." not in name and name not in _OURS:
        raise ValueError(f"executor {name!r} is not known; there are: {', '.join(_OURS)}")
    cls: Any = _OURS.get(name) or import_class(name)
    known = [parameter for parameter in inspect.signature(cls).parameters]
    for argument in arguments:
        if argument not in known:
            raise ValueError(f"executor {name} takes no {argument!r}; there are: {', '.join(known)}")
    executor: Executor = cls(**arguments)
    return executor
