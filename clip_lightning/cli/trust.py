"""Which modules a configuration may name: importing one runs it, so a file from elsewhere must not choose.

A check of each ``class_path`` says the remedy. It does not see all: where a type allows a part, the parser also imports
what a mere text names, or a further file that it names. So the parser is told as well what it may import.
"""

import importlib
import pkgutil
import sys
import sysconfig
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from jsonargparse import set_parsing_settings
from jsonargparse._common import parsing_settings
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.callbacks import Callback, LambdaCallback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins import CheckpointIO, LayerSync, Precision
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import Strategy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchvision.datasets import VisionDataset
from torchvision.transforms.v2 import Lambda, Transform

from clip_lightning.cli.compose import Config
from clip_lightning.spec import HasSpec, check_class_path, class_paths, is_installed


def refuse_what_is_no_part() -> None:
    """Forbids every configuration to name the standard library, and to have a class built where any value may stand.

    By default the parser builds the latter, whatever it is: a process, for example.
    """
    set_parsing_settings(instantiate_subclass_spec_in_any=False, import_path_denylist=sorted(sys.stdlib_module_names))


@contextmanager
def only_trusted(stored: Config, allow_modules: Collection[str]) -> Iterator[None]:
    """Meanwhile, the parser imports installed packages only, and modules that the user names.

    Args:
        stored: A configuration that may come from elsewhere, as it was read.
        allow_modules: What the user trusts, such as "examples.mixer".

    Raises:
        ValueError: If a ``class_path`` in it belongs to another module, in which case nothing has been imported, or is
            no part of a training.
    """
    # A name without a module is looked for among the parts that are imported already.
    dotted = [str(class_path) for class_path in class_paths(stored) if "." in str(class_path)]
    for class_path in dotted:
        check_class_path(class_path, allow_modules)
    for class_path in dotted:
        if class_path.rpartition(".")[0] not in allow_modules:
            _check_part(class_path)
    before = dict(parsing_settings)
    refuse_what_is_no_part()
    set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=[*_installed_modules(), *allow_modules])
    try:
        yield
    finally:
        # The settings are the process's own, and the parser has no other way to take "*" back.
        parsing_settings.update(before)


PARTS = (
    *(
        HasSpec,
        Callback,
        Logger,
        Strategy,
        Profiler,
        Precision,
        CheckpointIO,
        ClusterEnvironment,
        LayerSync,
        Accelerator,
    ),
    *(Optimizer, LRScheduler, VisionDataset, Transform),
)
"""What a configuration consists of."""

RUN_ANYTHING = (LambdaCallback, Lambda)
"""Parts that only run a function which they are given."""


def _check_part(class_path: str) -> None:
    """Refuses a class of an installed package that has no business in a configuration, such as one that runs programs.

    Where a part takes any function, the parser would make an object of any class for it.
    """
    module, _, name = class_path.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{class_path!r} cannot be imported: {error}") from None
    if not (isinstance(cls, type) and issubclass(cls, PARTS)) or issubclass(cls, RUN_ANYTHING):
        raise ValueError(
            f"{class_path!r} is no part of a training that a stored configuration may name; if you trust it, give "
            f"--allow_module {module}"
        )


def _installed_modules() -> list[str]:
    """This package and the top-level modules of the installed ones, but for those that the parser never imports."""
    folders = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    names = {module.name for module in pkgutil.iter_modules(folders)} - parsing_settings["import_path_verdicts"].keys()
    return ["clip_lightning", *sorted(name for name in names if name.isidentifier() and is_installed(name))]


def why_refused(path: str) -> str:
    """What to say of a dotted path that the parser was forbidden to import."""
    try:
        check_class_path(path)
    except ValueError as error:
        return str(error)
    return f"{path!r} is no part, and may not be named by a configuration"
