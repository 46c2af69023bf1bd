"""Data sets that configurations describe: which of them are here, and how to get the others."""

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clip_lightning.cli.errors import UserError
from clip_lightning.config import Config, read_config
from clip_lightning.spec import import_class, is_installed

KEY = "datasets"
"""Top-level key of the descriptions, by name."""
FRAGMENTS = Path("configs/evaluate/datasets")
DATA_ROOT = "data"
"""What stands for the data root in configurations."""

_PROMPTS = "https://raw.githubusercontent.com/openai/CLIP/main/data/prompts.md"
_PACKAGED = re.compile(r"([A-Za-z_]\w*)[\w.]*:[\w./-]+(?:#[\w/-]+)?")


@dataclass(frozen=True)
class Description:
    """What a configuration says of a data set.

    Args:
        name: Short name.
        files: What is there if the data set is.
        images: Number of images that publications report, or None.
        get: How to get it.
        download: Whether ``with_downloads`` makes torchvision fetch it.
    """

    name: str
    files: tuple[str, ...]
    images: int | None
    get: str
    download: bool = False

    def missing(self) -> list[str]:
        """Those of its files that are not there."""
        return [file for file in self.files if not Path(file).exists()]


def descriptions_of(config: Config) -> list[Description]:
    """The data sets that a configuration describes.

    Raises:
        UserError: If a description is not well formed.
    """
    found = []
    for name, one in (config.get(KEY) or {}).items():
        try:
            found.append(Description(name, **{**one, "files": tuple(one["files"])}))
        except (TypeError, KeyError) as error:
            raise UserError(f"{KEY}.{name} is to have files, images and get, and may have download: {error}") from None
    return found


def at_data_root(config: Any, root: str | Path) -> Any:
    """A configuration whose paths in ``data`` lead into another folder.

    Args:
        config: Plain data. A text is such a path if it is "data" or begins with "data/"; in what tells how to get a
            data set, every "data/" is meant.
        root: The folder that stands in its place.
    """
    match config:
        case {"get": str(text), **others}:
            return {**at_data_root(others, root), "get": re.sub(rf"\b(?<!/){DATA_ROOT}/", f"{root}/", text)}
        case Mapping():
            return {key: at_data_root(value, root) for key, value in config.items()}
        case list():
            return [at_data_root(value, root) for value in config]
        case str() if config == DATA_ROOT or config.startswith(f"{DATA_ROOT}/"):
            return str(Path(root)) + config.removeprefix(DATA_ROOT)
    return config


def with_downloads(config: Any) -> Any:
    """A configuration in which every set of torchvision that can fetch its files does so."""
    if isinstance(config, list):
        return [with_downloads(value) for value in config]
    if not isinstance(config, Mapping):
        return config
    changed = {key: with_downloads(value) for key, value in config.items()}
    class_path = str(config.get("class_path", ""))
    if class_path.startswith("torchvision.datasets.") and _can_download(class_path):
        changed["init_args"] = {**changed.get("init_args", {}), "download": True}
    return changed


def _can_download(class_path: str) -> bool:
    return "download" in inspect.signature(import_class(class_path)).parameters


def refuse_absent(config: Config, download: bool = False) -> None:
    """Refuses a configuration whose data sets, prompts or packages are not here, before anything is built.

    Args:
        config: Composed configuration, with its paths at the data root.
        download: Whether torchvision is to fetch what it can.

    Raises:
        UserError: With what is missing, and how to get it.
    """
    for one in descriptions_of(config):
        if not (download and one.download) and (missing := one.missing()):
            raise UserError(f"data set {one.name!r} is not here: there is no {' and no '.join(missing)}. {one.get}")
    if remedies := list(_prompt_remedies(config)):
        raise UserError(remedies[0])


def _prompt_remedies(config: Any) -> Iterator[str]:
    """How to get the prompts that a configuration names and that are not here."""
    for text in dict.fromkeys(_texts(config)):
        path, _, section = text.partition(".md#")
        if section and not Path(f"{path}.md").exists():
            yield f"{path}.md is not here, from which class names and templates are read: curl -o {path}.md {_PROMPTS}"
        match = _PACKAGED.fullmatch(text)
        if match and not is_installed(match[1]) and not Path(text).exists():
            package = match[1].replace("_", "-")
            yield f"package {package} is not installed, from which class names are read: pip install {package}"


def _texts(config: Any) -> Iterator[str]:
    """Every text of a configuration but those of the descriptions."""
    match config:
        case Mapping():
            for key, value in config.items():
                yield from () if key == KEY else _texts(value)
        case list():
            for value in config:
                yield from _texts(value)
        case str():
            yield config


def list_datasets(folder: Path = FRAGMENTS, root: str | Path = DATA_ROOT) -> str:
    """Which of the described data sets are here, and how to get the others.

    Args:
        folder: Folder of configurations, a file for each.
        root: The data root.

    Returns:
        Lines for a terminal.

    Raises:
        UserError: If the folder has none.
    """
    configs = [at_data_root(read_config(path), root) for path in sorted(folder.glob("*.yaml"))]
    described = [one for config in configs for one in descriptions_of(config)]
    if not described:
        raise UserError(f"{folder} has no configurations of data sets; run from the folder of the repository")
    here = [one for one in described if not one.missing()]
    lines = [f"{len(here)} of {len(described)} data sets are in {root}; --config {folder}/NAME.yaml evaluates one", ""]
    width = max(len(one.name) for one in described)
    for one in described:
        lines += _lines(one, width)
    remedies = dict.fromkeys(remedy for config in configs for remedy in _prompt_remedies(config))
    return "\n".join([*lines, *([""] if remedies else []), *remedies])


def _lines(one: Description, width: int) -> list[str]:
    """What is to be said of a data set: a line, and a second one for how to get it."""
    state = "here" if not one.missing() else "--download" if one.download else "by hand"
    images = "" if one.images is None else f"{one.images:,} images"
    line = f"{one.name:{width}}  {state:10}  {images:>14}"
    return [line.rstrip()] if state == "here" else [line.rstrip(), f"{'':{width}}  {one.get.strip()}"]
