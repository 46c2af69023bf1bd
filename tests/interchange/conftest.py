"""Released files, written once for all tests that read them."""

import warnings

import pytest
import torch
from released import (
    TEXTS,
    open_clip_model,
    transformers_model,
    write_open_clip_folder,
    write_openai_archive,
    write_transformers_folder,
)

from clip_lightning.text import CLIPTokenizer


@pytest.fixture(scope="session")
def archives(tmp_path_factory):
    """OpenAI's archives by the kind of their image tower."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("openai")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, but what was released is in it
        return {tower: write_openai_archive(folder / f"{tower}.pt", tower) for tower in ("vit", "resnet")}


@pytest.fixture(scope="session")
def open_clip_folders(tmp_path_factory):
    """Folders of open_clip by image tower and activation."""
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("open_clip")
    return {
        case: write_open_clip_folder(folder / f"{case[0]}-{case[1]}", open_clip_model(*case), *case)
        for case in (("vit", True), ("vit", False), ("resnet", True))
    }


@pytest.fixture(scope="session")
def transformers_folders(tmp_path_factory):
    """Folders of transformers by activation."""
    torch.manual_seed(2)
    folder = tmp_path_factory.mktemp("transformers")
    return {act: write_transformers_folder(folder / act, transformers_model(act)) for act in ("quick_gelu", "gelu")}


@pytest.fixture
def image():
    return torch.randn(3, 3, 64, 64)


@pytest.fixture(scope="session")
def text():
    return CLIPTokenizer()(TEXTS)
