"""Parts as plain data: an object remembers how it was built, and can be built again from that.

A checkpoint stores the specification of its parts, ``{"class_path": ..., "init_args": {...}}``, the form that the
configuration files use too. So loading needs neither a pickle nor the command line that trained the model, and it does
not matter whether that was the CLI or a notebook.
"""

import dataclasses
import functools
import importlib
import importlib.util
import inspect
import sys
import sysconfig
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

Spec = dict[str, Any]


class HasSpec:
    """Remembers the arguments of its constructor, defaults included, so that ``spec_of`` can name them."""

    _init_args: dict[str, Any]
    _built_as: type
    """The class that was named: FSDP gives a module that it divides another one."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:  # noqa: D102
        self = super().__new__(cls)
        signature = inspect.signature(cls.__init__)
        # Partial, because copy and pickle call __new__ with no arguments and restore the attribute themselves.
        bound = signature.bind_partial(self, *args, **kwargs)
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        arguments.pop(next(iter(signature.parameters)), None)
        for name, parameter in signature.parameters.items():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                arguments.update(arguments.pop(name, {}))
        object.__setattr__(self, "_init_args", arguments)
        object.__setattr__(self, "_built_as", cls)
        return self


def spec_of(value: Any) -> Any:
    """Describes a built object as plain data: None, numbers, strings, lists and dicts.

    Args:
        value: Plain data, a ``HasSpec`` object, a dataclass, a ``functools.partial`` of a class, or containers of them.

    Returns:
        The same as plain data; an object becomes ``{"class_path": ..., "init_args": {...}}``.

    Raises:
        ValueError: If something in it is none of these, with its place.
    """
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Path():
            return str(value)
        case HasSpec():
            return _class_spec(value._built_as, value._init_args)
        case functools.partial():
            return _class_spec(partial_class(value), value.keywords)
        case Mapping():
            return {str(key): spec_of(item) for key, item in value.items()}
        case list() | tuple():
            return [spec_of(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return _class_spec(type(value), fields)
    raise ValueError(
        f"a {type(value).__module__}.{type(value).__qualname__} cannot be written into a checkpoint as plain data; "
        "give the part numbers, strings, lists or other parts as arguments instead"
    )


def partial_class(value: "functools.partial[Any]") -> type:
    """The class that a partial builds, which jsonargparse hides behind a function as the last positional argument.

    Raises:
        ValueError: If it builds no class.
    """
    for candidate in (value.func, *reversed(value.args)):
        if isinstance(candidate, type):
            return candidate
    raise ValueError(f"{value} builds no class; use functools.partial(SomeClass, keyword=value)")


def _class_spec(cls: type, arguments: Mapping[str, Any]) -> Spec:
    init_args = {}
    for name, value in arguments.items():
        try:
            init_args[name] = spec_of(value)
        except ValueError as error:
            raise ValueError(f"{cls.__qualname__}({name}=...): {error}") from None
    return {"class_path": f"{cls.__module__}.{cls.__qualname__}", "init_args": init_args}


def build(spec: Any, *, allow_modules: Collection[str] = (), partial: Collection[type] = ()) -> Any:
    """Builds what ``spec_of`` described.

    Only classes of installed packages, or of modules that the caller names, are imported, and of those only parts
    (which derive from ``HasSpec``), dataclasses, and subclasses of ``partial``: a file cannot choose what runs. All
    names are checked before the first is imported.

    Args:
        spec: Plain data as ``spec_of`` returns it.
        allow_modules: Names of further modules, such as a user's own ``my_encoders``, whose classes may be built.
        partial: Base classes whose specifications become a ``functools.partial`` (optimisers wait for parameters).

    Returns:
        The built object; plain data is returned as it is.

    Raises:
        ValueError: If a class may not be imported, does not exist, or is no part.
    """
    for class_path in class_paths(spec):
        check_class_path(class_path, allow_modules)
    return _build(spec, partial)


def class_paths(plain: Any) -> Iterator[Any]:
    """Every class that nested plain data names, outer ones first; in a file from elsewhere they may be no texts."""
    if isinstance(plain, Mapping):
        if "class_path" in plain:
            yield plain["class_path"]
        plain = list(plain.values())
    if isinstance(plain, list | tuple):
        for item in plain:
            yield from class_paths(item)


def check_class_path(class_path: Any, allow_modules: Collection[str] = ()) -> None:
    """Makes sure, without importing anything, that a class named by a file may be imported.

    Args:
        class_path: Dotted path of the class.
        allow_modules: Names of modules beside the installed packages whose classes are trusted.

    Raises:
        ValueError: If it belongs to no installed package and to no trusted module, with the remedy. The standard
            library is never trusted: no part lies there, and much that runs whatever it is given.
    """
    if not isinstance(class_path, str):
        raise ValueError(f"class_path {class_path!r} is no dotted name such as 'clip_lightning.models.CLIP'")
    module = class_path.rpartition(".")[0]
    root = module.partition(".")[0]
    if not root or root in sys.stdlib_module_names:
        raise ValueError(f"{class_path!r} belongs to no installed package, and no part of a model is defined there")
    if not (module in allow_modules or root in allow_modules or is_installed(root)):
        raise ValueError(
            f"{class_path!r} belongs to no installed package; if you trust it, name its module: "
            f"--allow_module {module}, or in Python allow_modules=[{module!r}]"
        )


def is_installed(root: str) -> bool:
    """Whether a top-level package is this one, or lies among the installed packages (not the standard library)."""
    if root == __name__.partition(".")[0]:
        return True
    try:
        found = importlib.util.find_spec(root)
    except ValueError:  # As a notebook's __main__, which comes from no file.
        return False
    if root in sys.stdlib_module_names or found is None or found.origin is None:
        return False
    folders = {Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib")}
    return not folders.isdisjoint(Path(found.origin).resolve().parents)


def _build(spec: Any, partial: Collection[type]) -> Any:
    """Builds a specification whose names have been checked."""
    if isinstance(spec, list):
        return [_build(item, partial) for item in spec]
    if not isinstance(spec, dict):
        return spec
    arguments = spec.get("init_args", {}) if "class_path" in spec else spec
    built = {key: _build(value, partial) for key, value in arguments.items()}
    if "class_path" not in spec:
        return built
    cls = import_class(spec["class_path"])
    if issubclass(cls, tuple(partial)):
        return functools.partial(cls, **built)
    if not (issubclass(cls, HasSpec) or dataclasses.is_dataclass(cls)):
        raise ValueError(f"{spec['class_path']} is not a part that a checkpoint may name (no subclass of HasSpec)")
    return cls(**built)


def import_class(class_path: str) -> type:
    """Imports a class by its dotted path, which runs its module: check the path before.

    Raises:
        ValueError: If there is no such class.
    """
    module_name, _, name = class_path.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{class_path!r} cannot be imported: {error}") from None
    if not isinstance(cls, type):
        raise ValueError(f"{class_path!r} is not a class")
    return cls
