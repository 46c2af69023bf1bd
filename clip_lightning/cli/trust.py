"""Which modules a configuration may name: importing one runs it, so a file from elsewhere must not choose.

A check of each ``class_path`` says the remedy. It does not see all: where a type allows a part, the parser also imports
what a mere text names, or a further file that it names. So the parser is told as well what it may import.
"""

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

from clip_lightning.config import Config
from clip_lightning.spec import HasSpec, check_class_path, class_paths, import_class, is_installed


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
        ValueError: If a ``class_path`` in it belongs to another module; nothing has been imported then.
    """
    for class_path in _dotted(stored):
        check_class_path(class_path, allow_modules)
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


def check_parts(config: Config, allow_modules: Collection[str] = ()) -> None:
    """Refuses classes of installed packages that have no business in a configuration, such as one that runs programs.

    Where a part takes any function, the parser would make an object of any class for it.

    Args:
        config: Plain data.
        allow_modules: Modules that the user trusts.

    Raises:
        ValueError: With the class.
    """
    for class_path in _dotted(config):
        module = class_path.rpartition(".")[0]
        if module not in allow_modules and is_installed(module.partition(".")[0]):
            _check_part(class_path)


def _dotted(config: Config) -> list[str]:
    """Classes named with their modules; a name alone is looked for among the parts that are imported already."""
    return [str(class_path) for class_path in class_paths(config) if "." in str(class_path)]


def _check_part(class_path: str) -> None:
    cls = import_class(class_path)
    if not issubclass(cls, PARTS) or issubclass(cls, RUN_ANYTHING):
        raise ValueError(
            f"{class_path!r} is no part of a training, so a configuration may not name it; a class in a file of your "
            "own may use it"
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
